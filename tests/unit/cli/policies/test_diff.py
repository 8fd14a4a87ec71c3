"""What a push is foretold to do is what the next runs do."""

from __future__ import annotations

import json
import random
from datetime import timedelta

import pytest

from lambda_function.cli.policies.diff import Standing, affected, compare, merged, predict_effects
from lambda_function.inputs.policy import Parameter, Policy, parse_policies
from lambda_function.model.ec2 import SnapshotState
from lambda_function.model.period import Period
from tests.support.cloud import KEYS, FakeCloud

ALL = "hour day week month year"


def foretold(cloud, new):
    """Ids that a push of `new` (in place of all that is stored) is said to delete, with period and reason."""
    old, after = (
        parse_policies(Parameter(name, value) for name, value in policies.items()) for policies in (cloud.policies, new)
    )
    volumes = affected(old, after, cloud.list_volumes(), KEYS, cloud.clock.now)
    snapshots = cloud.list_snapshots(tuple(Period), [volume.id for volume in volumes]) if volumes else []
    return predict_effects(old, after, volumes, snapshots, KEYS, cloud.clock.now)


def deleted_by_the_next_runs(cloud, new):
    present = set(cloud.snapshots)
    cloud.policies = dict(new)
    for period in Period:
        cloud.run(period)
    assert not set(cloud.snapshots) - present, "a slot was open, so this says nothing"
    return present - set(cloud.snapshots)


@pytest.fixture
def cloud():
    """A volume of policy P with everything due served, and five older snapshots kept for hour and day."""
    made = FakeCloud(policies={"P": '{"hour": 6, "day": 6}'})
    volume = made.volume(1)
    made.snapshot(volume, ALL)
    for age in range(1, 6):
        made.snapshot(volume, "hour day", timedelta(days=age))
    return made


@pytest.mark.parametrize(
    ("new", "ages"),
    [
        pytest.param('{"hour": 6, "day": 6}', [], id="the same policy deletes nothing"),
        pytest.param('{"hour": 2, "day": 6}', [], id="what the day still keeps only loses the hour's word"),
        pytest.param('{"hour": 2, "day": 4}', [4, 5], id="what no period keeps goes"),
        pytest.param('{"hour": 0, "day": 0}', [1, 2, 3, 4, 5], id="zero lets go of all, not of what others keep"),
        pytest.param('{"day": 1}', [], id="a period no longer mentioned keeps what it has"),
        pytest.param('{"hour": 60, "day": 60}', [], id="more deletes nothing"),
        pytest.param(
            '{"hour": 1, "day": 1, "only_attached_vols": true}', [], id="outside the policy nothing is deleted"
        ),
    ],
)
def test_releases_by_the_new_retain_counts_are_predicted(cloud, new, ages):
    effects = foretold(cloud, {"P": new})
    found = {(cloud.clock.now - each.snapshot.start_time).days for each in effects.deletions}
    assert found == set(ages)
    assert deleted_by_the_next_runs(cloud, {"P": new}) == {each.snapshot.id for each in effects.deletions}


def test_the_reason_is_that_of_the_last_period_to_release(cloud):
    first, *_ = foretold(cloud, {"P": '{"hour": 2, "day": 4}'}).deletions
    assert (first.period, first.reason) == (Period.DAY, "in the 6th newest day; the policy keeps 4")


def test_a_removed_policy_deletes_nothing_and_names_its_volumes(cloud):
    effects = foretold(cloud, {"Q": '{"hour": 1}'})
    assert effects.deletions == ()
    (volume,) = effects.volumes
    assert volume.policy_name == "P"
    assert volume.text == 'no more snapshots, and none deleted: its tag names "P", which is no policy'


def test_a_new_policy_names_its_volumes_and_what_it_drops(cloud):
    cloud.policies = {"OTHER": '{"hour": 1}'}
    effects = foretold(cloud, {"OTHER": '{"hour": 1}', "P": '{"hour": 3, "day": 3}'})
    (volume,) = effects.volumes
    assert volume.text.startswith('the policy applies to it from then on; until now: its tag names "P"')
    assert len(effects.deletions) == 3


def test_a_faulty_policy_that_is_fixed_prunes_what_had_gathered(cloud):
    cloud.policies = {"P": '{"hour": "2"}', "OTHER": '{"hour": 1}'}
    effects = foretold(cloud, {"P": '{"hour": 2, "day": 2}', "OTHER": '{"hour": 1}'})
    assert len(effects.deletions) == 4
    assert "policy P is faulty" in effects.volumes[0].text


def test_a_push_is_not_blamed_for_deletions_due_anyway(cloud):
    """The stored policies delete those snapshots."""
    cloud.policies = {"P": '{"hour": 6, "day": 6, "week": 1}'}
    late = cloud.snapshot("vol-00000001", "week", timedelta(days=30))
    effects = foretold(cloud, {"P": '{"hour": 5, "day": 5, "week": 1}'})
    assert late.id not in {each.snapshot.id for each in effects.deletions}
    assert (len(effects.deletions), effects.due_anyway) == (1, 1)


def test_the_deletion_of_a_pending_snapshot_is_predicted(cloud):
    """It goes once it is complete."""
    pending = cloud.snapshot("vol-00000001", "hour", timedelta(minutes=1), state=SnapshotState.PENDING)
    effects = foretold(cloud, {"P": '{"hour": 0, "day": 6}'})
    assert [each.snapshot.id for each in effects.deletions] == [pending.id]
    pending.state = SnapshotState.COMPLETED
    assert deleted_by_the_next_runs(cloud, {"P": '{"hour": 0, "day": 6}'}) == {pending.id}


def random_policies(rng, counts):
    def one():
        chosen = {period.value: rng.choice(counts) for period in Period}
        fields = {name: count for name, count in chosen.items() if count is not None} or {"hour": 1}
        return json.dumps({**fields, "only_attached_vols": rng.random() < 0.2})

    return {name: one() for name in ("P", "Q", "R") if rng.random() < 0.9} or {"P": one()}


def random_fleet(seed):
    """A fleet in the state its policies leave it in, every slot served, and other policies for it."""
    rng = random.Random(seed)
    cloud = FakeCloud(policies=random_policies(rng, [None, 1, 2, 3, 5]))
    for number in range(6):
        volume = cloud.volume(number, rng.choice("PQRX"), rng.choice([None, f"i-{number}"]))
        cloud.snapshot(volume, ALL, policy=rng.choice(["P", None]))
        for _ in range(rng.randrange(10)):
            words = " ".join(rng.sample([*ALL.split(), "another"], rng.randint(1, 3)))
            age = timedelta(days=rng.randint(1, 40), hours=rng.randrange(24))
            cloud.snapshot(volume, words, age, failed=rng.random() < 0.15, policy=rng.choice(["P", "Q", None]))
    for period in Period:
        cloud.run(period)
    return cloud, random_policies(rng, [None, 0, 1, 2, 4])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("seed", range(150))
def test_exactly_the_predicted_snapshots_are_deleted(seed):
    cloud, new = random_fleet(seed)
    said = {each.snapshot.id for each in foretold(cloud, new).deletions}
    assert deleted_by_the_next_runs(cloud, new) == said


@pytest.mark.usefixtures("one_thread")
def test_such_fleets_do_lose_snapshots():
    assert sum(len(foretold(*random_fleet(seed)).deletions) for seed in range(20)) > 50


def standings(files, stored, **options):
    options.setdefault("prune", False)
    return {
        each.name: (each.standing, each.details)
        for each in compare(files, [Parameter("/p/" + name, value) for name, value in stored.items()], **options)
    }


def test_policies_are_compared_by_field_with_their_defaults():
    found = standings(
        {
            "A": Policy(name="A", hour=2, day=5),
            "B": Policy(name="B", day=1),
            "C": Policy(name="C", week=1, hook_document="doc"),
            "D": Policy(name="D", hour=1),
        },
        {
            "A": '{"hour": 3, "only_attached_vols": true, "day": 5}',
            "B": '{"hour": null, "day": 1, "hook_timeout_seconds": 60, "hook_parameters": {}}',
            "D": '{"hour": "1"}',
            "E": '{"hour": 1}',
        },
    )
    assert found == {
        "A": (Standing.CHANGED, ("hour: 3 -> 2", "only_attached_vols: true -> false")),
        "B": (Standing.UNCHANGED, ()),
        "C": (Standing.NEW, ("week: 1", 'hook_document: "doc"')),
        "D": (
            Standing.CHANGED,
            ('replaces a faulty value: /p/D: field "hour": "1": must be an integer, 0 or more, or leave it out',),
        ),
        "E": (Standing.STAYS, ()),
    }


def test_a_secure_value_is_compared_but_not_shown():
    """One that cannot be read is not compared."""
    stored = [
        Parameter("/p/A", '{"hour": 77}', secure=True),
        Parameter("/p/B", error="could not be read and decrypted", secure=True),
    ]
    first, second = compare({name: Policy(name=name, hour=1) for name in "AB"}, stored, prune=False)
    assert first.details == ("hour: (SecureString, not shown) -> 1",)
    assert (second.standing, second.details) == (Standing.UNREADABLE, ("could not be read and decrypted",))


def test_faulty_policies_that_no_file_holds_survive_a_push():
    stored = parse_policies([Parameter("A", "{}"), Parameter("B", "{}"), Parameter("C", '{"hour": 1}')])
    policies = merged(stored, {"A": Policy(name="A", hour=1)}, {"C"})
    assert (set(policies.valid), set(policies.faulty)) == ({"A"}, {"B"})
