"""A dry run: what a run would do, told of each volume and snapshot, with nothing written."""

from __future__ import annotations

import pytest

from lambda_function.model.ec2 import Consistency
from lambda_function.model.result import Change, ChangeOutcome, ChangeResult, HookResult, Outcome, VolumeResult
from tests.support.cloud import FakeCloud
from tests.support.observed import HOOKED, HOUR, POLICIES, half_past, observed


@pytest.fixture
def cloud():
    return FakeCloud(policies=dict(POLICIES))


def test_a_dry_run_reports_each_volume_and_each_snapshot(cloud):
    """A dry run says what a run would do for each volume, and what would become of each snapshot."""
    volume, shared, old = half_past(cloud)
    pair = [cloud.volume(number, "D", instance="i-1") for number in (2, 3)]
    done = cloud.volume(4, "D")
    serving = cloud.snapshot(done, "day", HOUR / 6, policy="D")
    cloud.volume(5, "D", instance="i-2")
    report, heard = observed(cloud, "day", dry_run=True)
    sharing = f"{shared.id} was taken for the hour at 2026-03-02 00:25"
    due = "none started in this day yet"
    together = f"{due}; one instant with the others of i-1"
    assert report.volumes == (
        VolumeResult(volume.id, "D", Outcome.WOULD_SHARE, sharing, shared.id),
        *(VolumeResult(each.id, "D", Outcome.WOULD_CREATE, together, consistency=Consistency.CRASH) for each in pair),
        VolumeResult(
            done.id,
            "D",
            Outcome.ALREADY_DONE,
            f"{serving.id} was started in this day (2026-03-02 00:25)",
            serving.id,
        ),
        VolumeResult("vol-00000005", "D", Outcome.WOULD_CREATE, due, consistency=Consistency.CRASH),
    )
    kept = "in the newest day; the policy keeps 1"
    assert report.changes == tuple(
        ChangeResult(snapshot_id, volume_id, change, ChangeOutcome.PLANNED, reason)
        for snapshot_id, volume_id, change, reason in [
            (shared.id, volume.id, Change.KEEP, kept),
            (shared.id, volume.id, Change.JOIN, sharing),
            (old.id, volume.id, Change.DELETE, "in the 2nd newest day; the policy keeps 1"),
            *(("(new)", each.id, Change.KEEP, kept) for each in pair),
            (serving.id, done.id, Change.KEEP, kept),
            ("(new)", "vol-00000005", Change.KEEP, kept),
        ]
    )
    assert {entry[0] for entry in heard} == {"stage", "volume", "change", "advance"}
    assert cloud.writes() == []


def test_a_dry_run_keeps_the_newest_completed_snapshot(cloud):
    """The snapshot that it would create would only be pending, and replaces no completed one."""
    volume = cloud.volume(1)
    old = cloud.snapshot(volume, "hour", HOUR)
    report, _ = observed(cloud, dry_run=True)
    assert [(each.snapshot_id, each.change) for each in report.changes] == [
        ("(new)", Change.KEEP),
        (old.id, Change.KEEP),
    ]


@pytest.mark.parametrize("lenient", [False, True])
def test_a_dry_run_predicts_each_failing_hook(cloud, lenient):
    """Where the failure would cost the snapshot, nothing would be deleted."""
    cloud.policies["H"] = HOOKED.replace("}", ', "hook_on_failure": "continue"}') if lenient else HOOKED
    failing = [cloud.volume(number, "H", instance=f"i-{1 + number // 2}") for number in (0, 1, 2)]
    well = cloud.volume(3, "H", instance="i-9")
    cloud.ssm.offline = dict.fromkeys(("i-1", "i-2"), "is not managed by SSM")
    for volume, age in [(volume, age) for volume in failing for age in (1, 2, 3)]:
        cloud.snapshot(volume, "hour", age * HOUR, policy="H")
    report, _ = observed(cloud, dry_run=True)
    problems = {each: f"{each} is not managed by SSM" for each in ("i-1", "i-2")}
    assert report.hooks == tuple(HookResult((each,), "H", problem) for each, problem in problems.items())
    if lenient:
        assert [result.outcome for result in report.volumes] == [Outcome.WOULD_CREATE] * 4
        return
    assert report.volumes[:3] == tuple(
        VolumeResult(volume.id, "H", Outcome.FAILED, f"hook failed: {problems[volume.instance_ids[0]]}")
        for volume in failing
    )
    assert (report.volumes[3].volume_id, report.volumes[3].outcome) == (well.id, Outcome.WOULD_CREATE)
    assert len(report.failures) == 3
    assert [each.volume_id for each in report.changes] == [well.id]
