"""The listing in docs/status.md, printed by the code."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from lambda_function.cli.status import print_status
from lambda_function.cli.terminal import Terminal
from lambda_function.inputs.policy import Parameter, parse_policies
from lambda_function.model.ec2 import Consistency, Snapshot, SnapshotState, Volume
from lambda_function.plan.protection import judge_volumes
from tests.unit.plan.test_protection import KEYS, LONG_AGO, NOW, at, minutes

SHOWN_POLICIES = {
    "CRITICAL": '{"hour": 2, "day": 5}',
    "MEH": '{"month": 1, "only_attached_vols": true}',
    "DATABASE": '{"hour": 24, "hook_document": "auto-snapshots-STACK-mysql"}',
}


def shown_report():
    def tagged(number, policy, attached=True, created=LONG_AGO):
        instances = ("i-1",) if attached else ()
        return Volume(number, "in-use" if attached else "available", {"AUTO-SNAPSHOT": policy}, instances, created)

    def held(number, of, started, periods, consistency=Consistency.CRASH, state="completed"):
        moment = at(f"2026-{started}")
        return Snapshot(number, of, moment, SnapshotState(state), tuple(periods.split()), "P", consistency, None, True)

    volumes = [
        tagged("vol-09c5ffd01409a3c62", "CRITICAL"),
        tagged("vol-1e98885c3a8d13402", "MEH", attached=False),
        tagged("vol-4cec913840fa06234", "CRITICAL", created=NOW - minutes(20)),
        tagged("vol-7aa0df1f0c2b91e55", "DATABASE"),
        tagged("vol-95c175611e17f44e9", "CRITICAL"),
        tagged("vol-f2e1b0b4ecfb25d12", "CRITICLA"),
    ]
    snapshots = [
        held("snap-23a969a54bc272f39", "vol-09c5ffd01409a3c62", "03-04 09:05", "hour"),
        held("snap-b71101ccaa1f029f0", "vol-09c5ffd01409a3c62", "03-04 00:05", "day"),
        held("snap-5d0e9e61a7c38f2b1", "vol-1e98885c3a8d13402", "02-01 00:05", "month"),
        held(
            "snap-90f5be0c4a5e2ac37", "vol-7aa0df1f0c2b91e55", "03-04 10:01", "hour", Consistency.APPLICATION, "pending"
        ),
        held("snap-12a09ba49c3ed45e0", "vol-95c175611e17f44e9", "03-04 09:05", "hour"),
        held("snap-0c41f2d7b1e6a9938", "vol-95c175611e17f44e9", "03-01 00:05", "day"),
        held("snap-66d2b8e5f30a1c47b", "vol-95c175611e17f44e9", "03-04 00:15", "day", state="error"),
        held("snap-ccaf10e8bd687d2f0", "vol-gone", "02-01 00:05", "month"),
    ]
    policies = parse_policies([Parameter(f"/p/{name}", value) for name, value in SHOWN_POLICIES.items()])
    return judge_volumes(NOW, policies, volumes, snapshots, KEYS)


def test_the_documentation_shows_what_is_printed():
    text = io.StringIO()
    print_status(shown_report(), Terminal(Console(width=240, file=text)))
    printed = "\n".join(line.rstrip() for line in text.getvalue().splitlines())
    page = (Path(__file__).parents[2] / "docs/status.md").read_text(encoding="utf-8")
    shown = page.split("<!-- output: status -->\n```text\n")[1].split("\n```")[0]
    assert shown == printed
