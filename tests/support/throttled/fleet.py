"""A fleet put into moto directly: through the API, thousands of volumes with old snapshots would take minutes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

from moto.backends import get_backend

from tests.support.endpoint import REGION, Account, Rules, ec2_backend
from tests.support.throttled.layer import Broken

KEY = "AUTO-SNAPSHOT"
POLICY = "BENCH"
PLAIN = "BENCH-PLAIN"
DOCUMENT = "auto-snapshots-bench"
TARGETS_PATH = "/auto-snapshots/targets/"
REGIONS = ("eu-west-1", "eu-central-1", "us-east-1", "ap-southeast-2")
DECLARED = ("command", "executionId", "volumeIds", "snapshotIds", "notAfter", "timeoutSeconds")


@dataclass(frozen=True)
class Fleet:
    """`volumes` with `copies` older hourly snapshots each, of which the policy keeps `keep`.

    On `instances`, `volumes` is the number on each, and the policy names a hook document.
    `plain` more volumes are detached, have no older snapshots and a policy without a hook.
    `foreign_pending` snapshots of other tools stay pending all the time.

    `accounts` are further ones, in each of which the function serves all of REGIONS: `in_each` volumes there, but
    `in_slowest` in the first account's first. The last account has no role, the one before it lacks the last Region.
    """

    volumes: int
    copies: int = 0
    keep: int = 1
    instances: int = 0
    plain: int = 0
    foreign_pending: int = 0
    accounts: int = 0
    in_each: int = 0
    in_slowest: int = 0

    @property
    def account_ids(self) -> tuple[str, ...]:
        return tuple(f"2{number:011d}" for number in range(self.accounts))

    @property
    def broken(self) -> Broken:
        if not self.accounts:
            return Broken()
        *_, without_a_region, without_role = self.account_ids
        return Broken(frozenset((without_role,)), frozenset((f"{without_a_region}/{REGIONS[-1]}",)))


def build(fleet: Fleet, rules: Rules) -> None:
    """Put the fleet into an endpoint's empty account. Calls over HTTP are made only for what there is few of."""
    account = Account()
    backend = ec2_backend()
    hook = {"hook_document": account.document(DOCUMENT, _document())} if fleet.instances else {}
    account.policy(POLICY, json.dumps({"hour": fleet.keep, **hook}))
    account.policy(PLAIN, json.dumps({"hour": fleet.keep}))
    for _ in range(fleet.plain):
        _volume(backend, PLAIN)
    volumes = [_volume(backend, POLICY) for _ in range(fleet.volumes * max(fleet.instances, 1))]
    for number in range(fleet.instances):
        instance = account.instance()
        for place, volume in enumerate(volumes[number * fleet.volumes : (number + 1) * fleet.volumes]):
            backend.attach_volume(volume.id, instance, f"/dev/sd{'fghijklmnop'[place]}")
    now = rules.clock()
    for volume in volumes:
        for age in range(fleet.copies, 0, -1):
            ours = f"Hourly snapshot of volume {volume.id}, policy {POLICY}"
            made = _snapshot(backend, volume.id, now - timedelta(hours=age), ours)
            made.add_tags({KEY: POLICY, f"{KEY}-PERIOD": "hour", f"{KEY}-CONSISTENCY": "crash"})
    foreign = backend.create_volume(size=8, zone_name=f"{REGION}a")
    for _ in range(fleet.foreign_pending):
        rules.held_pending.add(_snapshot(backend, foreign.id, now - timedelta(days=1)).id)
    # An account's own images would take half a second for each of its Regions.
    with mock.patch("moto.settings.ec2_load_default_amis", return_value=False):
        for account_id in fleet.account_ids:
            _build_member(account, account_id, fleet)


def _build_member(home: Account, account_id: str, fleet: Fleet) -> None:
    listed = json.dumps({"account": account_id, "regions": REGIONS})
    home.ssm.put_parameter(Name=f"{TARGETS_PATH}{account_id}", Value=listed, Type="String")
    for region in REGIONS:
        is_slowest = (account_id, region) == (fleet.account_ids[0], REGIONS[0])
        backend = get_backend("ec2")[account_id][region]
        for _ in range(fleet.in_slowest if is_slowest else fleet.in_each):
            _volume(backend, POLICY)


def _volume(backend: Any, policy: str) -> Any:
    volume = backend.create_volume(size=8, zone_name=f"{backend.region_name}a")
    volume.add_tags({KEY: policy})
    return volume


def _snapshot(backend: Any, volume_id: str, started: datetime, description: str = "") -> Any:
    made = backend.create_snapshot(volume_id, description)
    made.start_time = started.replace(tzinfo=None)
    return made


def _document() -> dict[str, Any]:
    return {
        "schemaVersion": "2.2",
        "description": "answers as the template's documents do; nothing runs",
        "parameters": {name: {"type": "String", "default": ""} for name in DECLARED},
        "mainSteps": [{"action": "aws:runShellScript", "name": "run", "inputs": {"runCommand": ["true"]}}],
    }
