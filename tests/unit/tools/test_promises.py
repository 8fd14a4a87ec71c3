"""Each promise can fail: a small world that breaks it is reported, and one that keeps it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.model.result import (
    Change,
    ChangeOutcome,
    ChangeResult,
    HookResult,
    Outcome,
    RunReport,
    VolumeResult,
)
from tests.support import promises
from tests.support.cloud import KEYS, FakeCloud, Write
from tests.support.instance import Freeze
from tests.support.promises import ON_REPORT, ON_SLOT, ON_WRITE, CloudAccount, Run

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Small(CloudAccount):
    """One volume of a policy that keeps two hours and two days; `old` are its snapshots, the newest first."""

    typos: tuple[str, ...] = ()

    def __init__(self):
        self.cloud = FakeCloud(policies={"P": '{"hour": 2, "day": 2}'})
        super().__init__(self.cloud)
        self.id = self.cloud.volume(1, instance="i-1").id
        self.old = [self.cloud.snapshot(self.id, "hour", age * HOUR) for age in (1, 2, 3)]
        self.run = Run(self, "hour", self.cloud.clock.now)
        self.report = RunReport(RunRequest(Period.HOUR, self.cloud.clock.now))

    def misspelt(self):
        return self.typos

    def made(self, periods="hour", age=timedelta(), **fields):
        stored = self.cloud.snapshot(self.id, periods, age, **fields)
        write = Write(stored, (), stored.words, is_create=True)
        self.run.writes.append(write)
        return write

    def deleted(self, stored):
        write = Write(stored, stored.words, (), is_delete=True)
        self.run.writes.append(write)
        return write

    def says(self, outcome, snapshot=None, consistency=None):
        line = VolumeResult(self.id, "P", outcome, "reason", snapshot.id if snapshot else None, consistency)
        self.report = replace(self.report, volumes=(line,))

    def changes(self, stored, change, outcome=ChangeOutcome.DONE, reason="reason"):
        self.report = replace(self.report, changes=(ChangeResult(stored.id, self.id, change, outcome, reason),))

    def freeze(self, **fields):
        freeze = Freeze("i-1", "e", frozenset({self.id}), self.run.began, self.run.began + 2 * MINUTE, **fields)
        self.cloud.ssm.instances.freezes.append(freeze)
        return freeze

    def thawed(self, **fields):
        now = self.cloud.clock.now
        return self.freeze(until=now + MINUTE / 2, ended_by="post", has_post=True, **fields)


def raised(small):
    stored = small.made().stored
    return Write(stored, stored.words, stored.words, raised=True)


def due(small):
    return small.made()


def not_due(small):
    small.cloud.policies["P"] = '{"hour": 0}'
    return small.made()


def first_of_slot(small):
    return small.made()


def second_of_slot(small):
    small.cloud.clock.now += 2 * MINUTE
    small.cloud.snapshot(small.id, "hour", MINUTE)
    small.run.began = small.cloud.clock.now
    return small.made()


def nothing_to_share(small):
    small.run.period = "day"
    return small.made("day")


def something_to_share(small):
    small.cloud.clock.now += 10 * MINUTE
    small.cloud.snapshot(small.id, "hour", 9 * MINUTE)
    small.run.period, small.run.began = "day", small.cloud.clock.now
    return small.made("day")


def joined(small, age=timedelta()):
    small.run.period = "day"
    stored = small.cloud.snapshot(small.id, "hour", age)
    return Write(stored, ("hour",), ("hour", "day"))


def joined_of_yesterday(small):
    return joined(small, HOUR)


def joined_under_a_hook(small, consistency="application"):
    small.cloud.policies["P"] = '{"hour": 2, "day": 2, "hook_document": "DOC"}'
    write = joined(small)
    write.stored.tags.update({KEYS.consistency: consistency, KEYS.set: "one"})
    return write


def joined_without_proof(small):
    return joined_under_a_hook(small, "crash")


def not_shared_without_proof(small):
    small.cloud.policies["P"] = '{"hour": 2, "day": 2, "hook_document": "DOC"}'
    return something_to_share(small)


def not_shared_in_spite_of_proof(small):
    write = not_shared_without_proof(small)
    for stored in small.cloud.snapshots.values():
        stored.tags[KEYS.consistency] = "application"
    return write


def oldest_goes(small):
    small.made()
    return small.deleted(small.old[2])


def newest_goes(small):
    small.made()
    return small.deleted(small.old[0])


def second_of_its_slot_goes(small):
    """Three are newer, but of one slot."""
    for age in (1, 2, 3):
        small.cloud.snapshot(small.id, "hour", age * MINUTE)
    return small.deleted(small.old[0])


def proof_goes(small, newer="application"):
    small.cloud.policies["P"] = '{"hour": 2, "hook_document": "DOC"}'
    write = oldest_goes(small)
    for stored, consistency in ((small.old[2], "application"), (small.old[1], newer)):
        stored.tags[KEYS.consistency] = consistency
    return write


def last_proof_goes(small):
    return proof_goes(small, "crash")


def failed_one_goes(small):
    small.old[0].failed = True
    return small.deleted(small.old[0])


def failed_one_goes_though_served(small):
    small.cloud.snapshot(small.id, "hour", 2 * MINUTE)
    return small.deleted(small.cloud.snapshot(small.id, "hour", MINUTE, failed=True))


def failed_one_of_two_tools_goes(small):
    small.old[0].failed = True
    small.old[0].tags[KEYS.period] = "hour another"
    return small.deleted(small.old[0])


def ours(small):
    return small.deleted(small.old[2])


def of_another_tool(small):
    small.old[2].tags = {KEYS.selection: "P"}
    return small.deleted(small.old[2])


def proved(small):
    small.thawed()
    return raised(small)


def frozen_and_not_proved(small):
    small.freeze(until=small.run.began + 2 * MINUTE, ended_by="automatic thaw")
    return raised(small)


def at_rest(small):
    small.cloud.put_into("i-1", "stopped")
    write = small.made()
    write.stored.tags[KEYS.consistency] = "offline"
    return write


def not_at_rest(small):
    write = at_rest(small)
    small.cloud.put_into("i-1", "hibernated")
    return write


def made_of(small, set_id, age=timedelta(), number=1, consistency="crash"):
    volume = small.cloud.volume(number, instance="i-1")
    stored = small.cloud.snapshot(volume, "hour", age)
    stored.tags.update({KEYS.set: set_id, KEYS.consistency: consistency})
    write = Write(stored, (), stored.words, is_create=True)
    small.run.writes.append(write)
    return write


def of_a_set(small):
    return made_of(small, "one")


def of_no_set(small):
    return small.made()


def of_one_freeze(small):
    small.cloud.clock.now += MINUTE / 2
    small.freeze()
    made_of(small, "one", MINUTE / 4)
    return made_of(small, "one", number=2)


def of_two_instants(small):
    made_of(small, "one", MINUTE / 4)
    return made_of(small, "one", number=2)


def of_one_volume(small):
    made_of(small, "one")
    return made_of(small, "one")


def both_proved(small, executions=("e", "e")):
    for number, execution in enumerate(executions, start=1):
        freeze = Freeze("i-1", execution, frozenset({f"vol-{number:08x}"}), small.run.began, small.run.began + MINUTE)
        freeze.until, freeze.ended_by = freeze.deadline, "post"
        small.cloud.ssm.instances.freezes.append(freeze)
    made_of(small, "one", consistency="application")
    return made_of(small, "one", number=2)._replace(raised=True)


def proved_by_two(small):
    return both_proved(small, ("e", "another"))


def served(small):
    stored = small.made().stored
    stored.tags[KEYS.consistency] = "crash"
    small.says(Outcome.CREATED, stored, "crash")


def says_nothing(small):
    small.made()


def nothing_made(small): ...


def says_too_much(small):
    served(small)
    small.says(Outcome.CREATED, small.old[0], "crash")


def deletion_told(small):
    del small.cloud.snapshots[small.deleted(small.old[2]).stored.id]
    small.changes(small.old[2], Change.DELETE)


def deletion_told_and_not_done(small):
    small.changes(small.old[2], Change.DELETE)


def deletion_without_reason(small):
    deletion_told(small)
    small.changes(small.old[2], Change.DELETE, reason="")


def deletion_not_told(small):
    small.deleted(small.old[2])


def failed(small):
    small.says(Outcome.FAILED)
    small.report = replace(small.report, failures=(f"{small.id}: reason",))


def failed_though_served(small):
    failed(small)
    small.cloud.snapshot(small.id, "hour")


def failed_and_pruned(small):
    failed(small)
    small.deleted(small.old[2])


def two_remain(small):
    served(small)
    for stored in small.old[1:]:
        del small.cloud.snapshots[stored.id]


def typo_named(small):
    small.typos = ("vol-2",)
    small.report = replace(small.report, warnings=("vol-2: no such policy",))


def typo_not_named(small):
    small.typos = ("vol-2",)


def error_named(small):
    small.old[0].failed = True
    small.report = replace(small.report, failed_snapshots=(small.old[0].id,))


def error_not_named(small):
    small.old[0].failed = True


def error_there_though_one_was_made(small):
    small.old[0].failed = small.old[1].failed = True
    small.report = replace(small.report, failed_snapshots=(small.old[0].id, small.old[1].id))
    small.made()


def error_replaced_and_there(small):
    small.old[1].failed = True
    small.report = replace(small.report, failed_snapshots=(small.old[1].id,))


def continued(small):
    small.report = replace(small.report, is_continued=True, failures=("reason",))


def continued_with_what_only_it_can_say(small):
    continued(small)
    small.report = replace(small.report, unrepeatable_failures=("reason",))


def thawed(small):
    small.thawed()


def no_post(small):
    small.freeze()


def thawed_by_itself_and_not_told(small):
    small.freeze(has_post=True, until=small.run.began + 2 * MINUTE, ended_by="automatic thaw")


def thawed_by_itself_and_told(small):
    thawed_by_itself_and_not_told(small)
    small.report = replace(small.report, hooks=(HookResult(("i-1",), "P", "post failed"),))


def frozen_and_named(small):
    small.freeze()
    small.report = replace(small.report, failures=("i-1 is still frozen",))


def long_frozen(small):
    small.freeze(until=small.run.began + HOUR, ended_by="post")


ROWS = [
    ("a_snapshot_is_made_only_where_one_is_due", due, not_due),
    ("a_slot_gets_one_snapshot", first_of_slot, second_of_slot),
    ("a_fresh_snapshot_of_a_shorter_period_is_shared", nothing_to_share, something_to_share),
    ("a_fresh_snapshot_of_a_shorter_period_is_shared", not_shared_without_proof, not_shared_in_spite_of_proof),
    ("a_hooked_policy_joins_only_what_is_proved", joined_under_a_hook, joined_without_proof),
    ("a_snapshot_is_shared_only_where_it_serves", joined, joined_of_yesterday),
    ("nothing_is_let_go_that_is_kept", oldest_goes, newest_goes),
    ("nothing_is_let_go_that_is_kept", oldest_goes, second_of_its_slot_goes),
    ("nothing_is_let_go_that_is_kept", proof_goes, last_proof_goes),
    ("a_failed_snapshot_goes_for_a_reason", failed_one_goes, failed_one_goes_though_served),
    ("a_failed_snapshot_goes_for_a_reason", failed_one_goes, failed_one_of_two_tools_goes),
    ("what_is_not_ours_is_left_alone", ours, of_another_tool),
    ("application_is_said_only_on_proof", proved, frozen_and_not_proved),
    ("offline_is_said_only_at_rest", at_rest, not_at_rest),
    ("every_snapshot_made_is_of_a_set", of_a_set, of_no_set),
    ("a_set_is_of_one_instant_or_one_freeze", of_one_freeze, of_two_instants),
    ("a_set_is_of_one_instant_or_one_freeze", of_one_freeze, of_one_volume),
    ("a_proved_set_comes_from_one_freeze", both_proved, proved_by_two),
    ("every_due_volume_is_served_or_named", served, says_nothing),
    ("what_is_said_to_serve_a_slot_serves_it", served, says_too_much),
    ("what_is_said_to_be_changed_is_changed", deletion_told, deletion_told_and_not_done),
    ("what_is_said_to_be_changed_is_changed", deletion_told, deletion_without_reason),
    ("what_was_done_is_said", deletion_told, deletion_not_told),
    ("what_was_done_is_said", served, says_nothing),
    ("no_failure_is_a_false_alarm", failed, failed_though_served),
    ("a_volume_that_failed_is_not_pruned", failed, failed_and_pruned),
    ("no_more_than_n_remain", two_remain, served),
    ("every_misspelt_tag_is_named", typo_named, typo_not_named),
    ("failed_snapshots_are_named_and_go", error_named, error_not_named),
    ("failed_snapshots_are_named_and_go", error_named, error_replaced_and_there),
    ("failed_snapshots_are_named_and_go", error_named, error_there_though_one_was_made),
    ("only_what_another_run_can_repeat_is_continued", continued, continued_with_what_only_it_can_say),
    ("every_freeze_gets_its_post", thawed, no_post),
    ("every_freeze_gets_its_post", thawed_by_itself_and_told, thawed_by_itself_and_not_told),
    ("no_instance_stays_frozen", frozen_and_named, no_post),
    ("each_due_volume_has_its_snapshot", served, nothing_made),
    ("no_freeze_lasts_longer_than_promised", thawed, long_frozen),
]


def faults(name, play):
    """What the promise says of the world that has been played."""
    small = Small()
    promise = getattr(promises, name)
    write = play(small)
    if promise in ON_WRITE:
        return list(promise(small.run, write))
    if promise in ON_REPORT:
        return list(promise(small.run, small.report))
    return list(promise(small, "hour", small.run.began))


@pytest.mark.parametrize(("name", "kept", "broken"), ROWS, ids=[f"{row[0]}-{row[2].__name__}" for row in ROWS])
def test_a_promise_tells_a_broken_world_from_a_good_one(name, kept, broken):
    assert faults(name, kept) == []
    assert faults(name, broken) != []


def test_the_table_has_every_promise():
    assert {name for name, _, _ in ROWS} == {each.__name__ for each in (*ON_WRITE, *ON_REPORT, *ON_SLOT)}
    assert all(each.__doc__ for each in (*ON_WRITE, *ON_REPORT, *ON_SLOT))
