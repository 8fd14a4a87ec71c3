"""Hold the locks against the known vulnerabilities that PyPI names: `make audit`, part of `make check`.

What goes into Lambda must have none. What only runs on developers' machines is warned about. Where PyPI's service does
not answer, nothing is known, and that is said aloud: `AUDIT=strict` fails then, and on warnings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
DEPLOYED = HERE.parent / "lambda_function" / "requirements.txt"

CANARY = "urllib3==1.24.1"
"""Vulnerable (CVE-2019-11324): a service that does not say so tells nothing of the others either."""

ACCEPTED: dict[str, str] = {}
"""Ids of vulnerabilities that do not concern this software, each with the reason."""

SECONDS = 300


@dataclass
class Audit:
    """What is known of one lock: its vulnerabilities, each in a line, and the packages that nothing is known of."""

    findings: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


class UnreachableError(Exception):
    """The service gave no answer that could be used."""


def audit(pip_audit: str, lock: Path) -> Audit:
    """Ask about every package of a lock; hashes are required where the lock has them."""
    command = [pip_audit, "--disable-pip", "--no-deps", "--progress-spinner=off", "--format=json", "-r", str(lock)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        packages = json.loads(ran.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnreachableError(str(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        said = ran.stderr.strip().splitlines() or ["pip-audit said nothing"]
        raise UnreachableError(said[-1]) from error
    found = Audit()
    for package in packages:
        if "skip_reason" in package:
            found.unknown.append(package["name"])
        for vulnerability in package.get("vulns", ()):
            if not ACCEPTED.keys() & {vulnerability["id"], *vulnerability.get("aliases", ())}:
                fixed = ", ".join(vulnerability.get("fix_versions", ())) or "no version"
                name = f"{package['name']} {package['version']}"
                found.findings.append(f"{name}: {vulnerability['id']}, fixed in {fixed}")
    return found


def check_service(pip_audit: str) -> None:
    """Raise UnreachableError unless the service knows of a vulnerability that there is."""
    with tempfile.TemporaryDirectory() as directory:
        canary = Path(directory) / "canary.txt"
        canary.write_text(CANARY + "\n")
        if not audit(pip_audit, canary).findings:
            raise UnreachableError(f"PyPI's service knows nothing of {CANARY}, which is vulnerable")


def main(pip_audit: str, *, strict: bool, tools: list[Path] | None = None) -> int:
    """Audit all locks and say what was found; the exit code."""
    failed = uncertain = False
    tools = sorted(HERE.glob("*.txt")) if tools is None else tools
    try:
        check_service(pip_audit)
        for lock in (DEPLOYED, *tools):
            found = audit(pip_audit, lock)
            kind = "VULNERABLE" if lock == DEPLOYED else "warning"
            for line in found.findings:
                print(f"{kind}: {lock.name}: {line}")
            if found.unknown:
                print(f"NOT AUDITED: {lock.name}: nothing is known of {', '.join(found.unknown)}")
            failed = failed or (lock == DEPLOYED and bool(found.findings))
            uncertain = uncertain or bool(found.unknown or found.findings)
            print(f"audited: {lock.parent.name}/{lock.name}: {len(found.findings)} found")
    except UnreachableError as error:
        print(f"NOT AUDITED: whether the locked packages have known vulnerabilities is not known here: {error}")
        uncertain = True
    return int(failed or (strict and uncertain))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], strict=os.environ.get("AUDIT") == "strict"))
