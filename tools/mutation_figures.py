"""The figures of `make mutation`, by module, from mutmut's results; fails if more than 5 % survived."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ALLOWED = 0.05
UNNOTICED = (0, 5, 33, None)
"""mutmut's codes: the tests passed; no test reaches the mutant (two codes); not tried."""


def main() -> int:
    """Prints a row per module; returns 1 if more than 5 % survived."""
    print("| module | mutants | noticed | survived | % |\n|---|---|---|---|---|")
    root = Path("mutants/lambda_function")
    stored = sorted(root.rglob("*.meta"))
    survivors: list[str] = []
    is_good = bool(stored)
    for file in stored:
        codes = json.loads(file.read_text())["exit_code_by_key"]
        left = [name for name, code in codes.items() if code in UNNOTICED]
        share = len(left) / len(codes)
        module = file.relative_to(root).with_suffix("")
        print(f"| `{module}` | {len(codes)} | {len(codes) - len(left)} | {len(left)} | {100 * share:.1f} |")
        is_good &= share <= ALLOWED
        survivors += left
    print("\nSee each with `mutmut show NAME`:" if survivors else "\nNone survived.", *survivors, sep="\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
