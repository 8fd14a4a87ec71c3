"""One batch of changes alone: every result whole, with its words, and what was asked of EC2 for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lambda_function.deadline import Deadline
from lambda_function.errors import AwsError
from lambda_function.model.ec2 import SnapshotState, UnrequestedSnapshot
from lambda_function.model.period import Period, RetentionRule
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Change, ChangeOutcome, ChangeResult
from lambda_function.plan.retention import kept_for, plan_join, plan_prune
from lambda_function.run.prune import Changer
from lambda_function.run.unrequested import delete_unrequested
from tests.support.cloud import FakeCloud

HOUR = timedelta(hours=1)
LOOK = ("DescribeSnapshots", "recheck")
REQUEST = RunRequest(Period.HOUR, datetime(2026, 3, 2, tzinfo=UTC))


class World:
    """A cloud, the seconds that are left in it, and what was waited for."""

    def __init__(self):
        self.cloud = FakeCloud()
        self.waits = []
        self.left = 900.0
        deadline = Deadline(
            lambda: self.left - self.cloud.clock.elapsed(),
            self._sleep,
            self.cloud.clock.elapsed,
            lambda: self.cloud.clock.now,
        )
        self.context = replace(self.cloud._context(900), deadline=deadline)

    def _sleep(self, seconds):
        self.waits.append(seconds)
        self.cloud.clock.sleep(seconds)

    def stored(self, number, periods, hours, **fields):
        """A snapshot as EC2 holds it and as the first walk listed it."""
        stored = self.cloud.snapshot(f"vol-{number}", periods, hours * HOUR, **fields)
        return stored, self.cloud._seen(stored)

    def apply(self, *batch):
        results = list(Changer(REQUEST, self.context).apply(batch))
        return sorted(results, key=lambda result: result.snapshot_id)

    def delete_unrequested(self, *snapshots):
        return delete_unrequested(
            self.context, [UnrequestedSnapshot(each, "nobody asked for it") for each in snapshots]
        )

    def when(self, operation, error):
        def burst(called, target):
            if operation in (called, target):
                raise error

        self.cloud.before = burst


@pytest.fixture
def world():
    return World()


def prune(*snapshots, count=0):
    return plan_prune(RetentionRule(Period.HOUR, count), snapshots, None)


def test_releases_are_planned_with_their_reason(world):
    """What is kept is planned only on request."""
    seen = [world.stored(1, periods, hours)[1] for hours, periods in enumerate(["hour", "hour day week", "hour"])]
    planned = plan_prune(RetentionRule(Period.HOUR, 1), seen, None)
    assert [(each.snapshot, each.change, each.reason, each.joining) for each in planned] == [
        (seen[1], Change.RELEASE, "in the 2nd newest hour; the policy keeps 1; still kept for day week", ()),
        (seen[2], Change.DELETE, "in the 3rd newest hour; the policy keeps 1", ()),
    ]
    everything = plan_prune(RetentionRule(Period.HOUR, 1), seen, None, with_kept=True)
    assert everything[1:] == planned
    kept = everything[0]
    assert (kept.snapshot, kept.change, kept.reason) == (
        seen[0],
        Change.KEEP,
        "in the newest hour; the policy keeps 1",
    )


def test_what_serves_the_slot_is_never_planned_to_go(world):
    newest, second, serving = (world.stored(1, "hour", hours)[1] for hours in (1, 2, 3))
    planned = plan_prune(RetentionRule(Period.HOUR, 2), [newest, second, serving], serving.id)
    assert [each.snapshot for each in planned] == [second]


def test_a_join_is_planned_with_its_periods_and_its_reason(world):
    seen = world.stored(1, "hour", 1)[1]
    planned = plan_join(seen, (Period.DAY, Period.WEEK), "why")
    assert (planned.snapshot, planned.change, planned.reason) == (seen, Change.JOIN, "why")
    assert planned.joining == (Period.DAY, Period.WEEK)


def test_a_kept_snapshot_has_the_period_s_word_in_order(world):
    """The word stands among those of the other periods."""
    seen = world.stored(1, "day fortnight", 1)[1]
    assert kept_for(seen, Period.HOUR) == replace(seen, periods=("hour", "day", "fortnight"))


def test_the_last_period_s_release_deletes_the_snapshot(world):
    """A snapshot that another period keeps stays, with that word."""
    (gone, gone_seen), (stays, stays_seen) = world.stored(1, "hour", 1), world.stored(2, "hour day week", 1)
    results = world.apply(*prune(gone_seen), *prune(stays_seen))
    assert results == [
        ChangeResult(gone.id, "vol-1", Change.DELETE, ChangeOutcome.DONE, "the policy keeps no hourly snapshots"),
        ChangeResult(
            stays.id,
            "vol-2",
            Change.RELEASE,
            ChangeOutcome.DONE,
            "the policy keeps no hourly snapshots; still kept for day week",
        ),
    ]
    assert set(world.cloud.snapshots) == {stays.id}
    assert stays.tags["AUTO-SNAPSHOT-PERIOD"] == "day week"


@pytest.mark.parametrize(
    ("meanwhile", "outcome", "note"),
    [
        pytest.param(
            lambda stored: stored.tags.update({"AUTO-SNAPSHOT-PERIOD": "hour day"}),
            ChangeOutcome.CHANGED_SINCE,
            "; it is now kept for hour day",
            id="another period joined it",
        ),
        pytest.param(
            lambda stored: setattr(stored, "state", SnapshotState.ERROR),
            ChangeOutcome.CHANGED_SINCE,
            "; it is now error",
            id="it failed",
        ),
        pytest.param(
            lambda stored: setattr(stored, "protected", "in use by ami-1"),
            ChangeOutcome.REFUSED,
            "; in use by ami-1",
            id="an image holds it",
        ),
    ],
)
def test_a_deletion_not_done_says_why_and_leaves_the_snapshot(world, meanwhile, outcome, note):
    stored, seen = world.stored(1, "hour", 1)
    meanwhile(stored)
    reason = f"the policy keeps no hourly snapshots{note}"
    assert world.apply(*prune(seen)) == [ChangeResult(stored.id, "vol-1", Change.DELETE, outcome, reason)]
    assert stored.id in world.cloud.snapshots


@pytest.mark.parametrize("gone_at", ["recheck", "DeleteSnapshot"])
def test_a_snapshot_already_gone_is_reported_as_gone(world, gone_at):
    stored, seen = world.stored(1, "hour", 1)

    def vanish(called, target):
        if gone_at in (called, target):
            world.cloud.snapshots.pop(stored.id, None)

    world.cloud.before = vanish
    reason = "the policy keeps no hourly snapshots"
    assert world.apply(*prune(seen)) == [ChangeResult(stored.id, "vol-1", Change.DELETE, ChangeOutcome.GONE, reason)]


@pytest.mark.parametrize(
    ("operation", "at"), [("recheck", "the recheck"), ("DeleteSnapshot", "the change of snap-00000001")]
)
@pytest.mark.parametrize(
    ("error", "note"),
    [
        (AwsError("DeleteSnapshot", "Unavailable", "later"), "; DeleteSnapshot: Unavailable: later"),
        (ZeroDivisionError("ours"), "; unexpected ZeroDivisionError: ours"),
    ],
    ids=["EC2's", "our own"],
)
def test_a_fault_in_recheck_or_deletion_fails_that_change(world, caplog, operation, at, error, note):
    """The reason is in words."""
    stored, seen = world.stored(1, "hour", 1)
    world.when(operation, error)
    reason = f"the policy keeps no hourly snapshots{note}"
    assert world.apply(*prune(seen)) == [ChangeResult(stored.id, "vol-1", Change.DELETE, ChangeOutcome.FAILED, reason)]
    assert stored.id in world.cloud.snapshots
    assert (f"unexpected at {at}\n" in caplog.text) is isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize(("left", "outcome"), [(45, ChangeOutcome.DONE), (44, ChangeOutcome.DEFERRED)])
@pytest.mark.parametrize("lost_at", ["before the look", "at the look"])
def test_nothing_is_deleted_without_time_for_retries(world, left, outcome, lost_at):
    """Nothing is rechecked either."""
    stored, seen = world.stored(1, "hour", 1)

    def lose(called, target):
        if target == "recheck":
            world.left = left

    if lost_at == "at the look":
        world.cloud.before = lose
    else:
        world.left = left
    (result,) = world.apply(*prune(seen))
    assert result.outcome is outcome
    assert (stored.id in world.cloud.snapshots) is (outcome is ChangeOutcome.DEFERRED)
    if outcome is ChangeOutcome.DEFERRED:
        assert result.reason == "the policy keeps no hourly snapshots; not begun: 44 s left, 45 s needed"
        assert (LOOK in world.cloud.journal) is (lost_at == "at the look")


@pytest.mark.parametrize(
    ("now", "written"),
    [
        pytest.param("hour", "hour day week", id="both words are missing"),
        pytest.param("hour day", "hour day week", id="one is missing"),
        pytest.param("hour fortnight", "hour day week fortnight", id="another's word is kept"),
        pytest.param("hour day week", None, id="none is missing, so nothing is written"),
        pytest.param("day week", None, id="none is missing, though the hour has let go"),
    ],
)
def test_a_join_adds_the_words_that_are_missing_at_the_recheck(world, now, written):
    stored, seen = world.stored(1, "hour", 0)
    stored.tags["AUTO-SNAPSHOT-PERIOD"] = now
    assert world.apply(plan_join(seen, (Period.DAY, Period.WEEK), "why")) == [
        ChangeResult(stored.id, "vol-1", Change.JOIN, ChangeOutcome.DONE, "why")
    ]
    assert world.cloud.calls("CreateTags") == (written is not None)
    assert stored.tags["AUTO-SNAPSHOT-PERIOD"] == (written or now)


@pytest.mark.parametrize(("word", "told"), [("crash", "crash"), (None, "without a word")])
def test_a_join_of_one_that_lost_its_word_is_left_and_says_so(world, word, told):
    stored, _ = world.stored(1, "hour", 0)
    stored.tags["AUTO-SNAPSHOT-CONSISTENCY"] = "application"
    seen = world.cloud._seen(stored)
    del stored.tags["AUTO-SNAPSHOT-CONSISTENCY"]
    stored.tags |= {"AUTO-SNAPSHOT-CONSISTENCY": word} if word else {}
    assert world.apply(plan_join(seen, (Period.DAY,), "why")) == [
        ChangeResult(stored.id, "vol-1", Change.JOIN, ChangeOutcome.CHANGED_SINCE, f"why; it is now {told}")
    ]


def test_a_join_of_one_that_failed_meanwhile_is_left_and_says_so(world):
    stored, seen = world.stored(1, "hour", 0)
    stored.state = SnapshotState.ERROR
    assert world.apply(plan_join(seen, (Period.DAY,), "why")) == [
        ChangeResult(stored.id, "vol-1", Change.JOIN, ChangeOutcome.CHANGED_SINCE, "why; it is now error")
    ]
    assert world.cloud.calls("CreateTags") == 0


def test_a_volume_whose_join_failed_loses_nothing(world):
    """This holds for this batch and later ones; other volumes are pruned."""
    _, joined = world.stored(1, "hour", 0)
    _, old = world.stored(1, "hour", 1)
    older, older_seen = world.stored(1, "hour", 2)
    other, other_seen = world.stored(2, "hour", 1)
    world.cloud.snapshots.pop(joined.id)
    changer = Changer(REQUEST, world.context)
    first = list(changer.apply([*prune(old), *prune(other_seen), plan_join(joined, (Period.DAY,), "why")]))
    assert [(each.snapshot_id, each.outcome) for each in first] == [
        (joined.id, ChangeOutcome.GONE),
        (other.id, ChangeOutcome.DONE),
    ]
    assert list(changer.apply(prune(older_seen))) == []
    assert {old.id, older.id} <= set(world.cloud.snapshots)


def test_a_failed_deletion_is_no_failed_join(world):
    stuck, stuck_seen = world.stored(1, "hour", 2, protected="in use by ami-1")
    gone, gone_seen = world.stored(1, "hour", 3)
    changer = Changer(REQUEST, world.context)
    assert [each.outcome for each in changer.apply(prune(stuck_seen))] == [ChangeOutcome.REFUSED]
    assert [each.outcome for each in changer.apply(prune(gone_seen))] == [ChangeOutcome.DONE]
    assert set(world.cloud.snapshots) == {stuck.id}
    assert gone.id not in world.cloud.snapshots


def unrequested_snapshot(world, number=1, policy=None):
    return world.stored(number, "hour", 0, policy=policy)


@pytest.mark.parametrize("policy", [None, "NONE"], ids=["of an untagged volume", "of one that is opted out"])
def test_a_visible_unrequested_snapshot_is_deleted_at_once(world, policy):
    """No run would adopt it or ever prune it."""
    stored, seen = unrequested_snapshot(world, policy=policy)
    assert world.delete_unrequested(seen) == [
        ChangeResult(stored.id, "vol-1", Change.DELETE, ChangeOutcome.DONE, "nobody asked for it")
    ]
    assert world.cloud.snapshots == {}
    assert world.waits == [0.0]


def test_an_unrequested_snapshot_of_a_selected_volume_stays(world):
    stored, seen = unrequested_snapshot(world, policy="P")
    reason = "nobody asked for it; its volume is selected, so it stays as that volume's"
    assert world.delete_unrequested(seen) == [
        ChangeResult(stored.id, "vol-1", Change.DELETE, ChangeOutcome.CHANGED_SINCE, reason)
    ]
    assert stored.id in world.cloud.snapshots


def test_an_unrequested_snapshot_not_visible_yet_is_retried(world):
    """No other change is."""
    (seen_at_once, first), (hidden, second) = unrequested_snapshot(world), unrequested_snapshot(world, 2)
    del world.cloud.snapshots[hidden.id]
    asked, moments = [], []
    read = world.cloud.read_snapshots

    def show(ids):
        asked.append(list(ids))
        moments.append(world.cloud.clock.elapsed())
        if len(asked) == 3:
            world.cloud.snapshots[hidden.id] = hidden
        return read(ids)

    world.cloud.read_snapshots = show
    results = world.delete_unrequested(first, second)
    assert [each.outcome for each in results] == [ChangeOutcome.DONE] * 2
    assert asked == [[seen_at_once.id, hidden.id], [hidden.id], [hidden.id]]
    assert moments == [0.0, 3.0, 13.0]


def test_an_unrequested_snapshot_never_visible_counts_as_gone(world):
    _, seen = unrequested_snapshot(world)
    world.cloud.snapshots.clear()
    (result,) = world.delete_unrequested(seen)
    assert (result.outcome, result.reason) == (ChangeOutcome.GONE, "nobody asked for it")
    assert world.cloud.clock.elapsed() == 13.0


def test_unrequested_snapshots_are_rechecked_200_a_call(world):
    seen = [unrequested_snapshot(world, number)[1] for number in range(400)]
    results = world.delete_unrequested(*seen)
    assert [each.outcome for each in results] == [ChangeOutcome.DONE] * 400
    assert world.cloud.journal.count(LOOK) == 2


def test_an_unrequested_snapshot_that_vanishes_is_gone(world):
    stored, seen = unrequested_snapshot(world)

    def vanish(called, target):
        if called == "DeleteSnapshot":
            world.cloud.snapshots.pop(stored.id, None)

    world.cloud.before = vanish
    (result,) = world.delete_unrequested(seen)
    assert (result.outcome, result.reason) == (ChangeOutcome.GONE, "nobody asked for it")


@pytest.mark.parametrize(
    ("operation", "at"),
    [("recheck", "the check of unrequested snapshots"), ("DeleteSnapshot", "the deletion of snap-00000001")],
)
@pytest.mark.parametrize(
    ("error", "note"),
    [
        (AwsError("DeleteSnapshot", "Unavailable", "later"), "DeleteSnapshot: Unavailable: later"),
        (ZeroDivisionError("ours"), "unexpected ZeroDivisionError: ours"),
    ],
    ids=["EC2's", "our own"],
)
def test_a_fault_at_an_unrequested_snapshot_is_its_failure(world, caplog, operation, at, error, note):
    stored, seen = unrequested_snapshot(world)
    world.when(operation, error)
    assert world.delete_unrequested(seen) == [
        ChangeResult(stored.id, "vol-1", Change.DELETE, ChangeOutcome.FAILED, f"nobody asked for it; {note}")
    ]
    assert stored.id in world.cloud.snapshots
    assert (f"unexpected at {at}\n" in caplog.text) is isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize(("left", "outcome"), [(45, ChangeOutcome.DONE), (44, ChangeOutcome.FAILED)])
def test_an_unrequested_snapshot_without_time_is_a_failure(world, left, outcome):
    """Another run would not know of it."""
    _, seen = unrequested_snapshot(world)
    world.left = left
    (result,) = world.delete_unrequested(seen)
    assert result.outcome is outcome
    assert world.cloud.calls("DeleteSnapshot") == (outcome is ChangeOutcome.DONE)
