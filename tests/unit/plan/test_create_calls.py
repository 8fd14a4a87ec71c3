from __future__ import annotations

import pytest

from lambda_function.model.ec2 import Consistency, Instance, Volume
from lambda_function.model.period import Period
from lambda_function.model.result import Outcome
from lambda_function.model.tags import TagKeys
from lambda_function.plan.create_calls import plan_creates
from lambda_function.plan.due import VolumePlan

KEYS = TagKeys("AUTO-SNAPSHOT")


def due(number, *instances, policy="P", **tags):
    volume = Volume(
        f"vol-{number}", "in-use" if instances else "available", {"AUTO-SNAPSHOT": policy, **tags}, instances
    )
    return VolumePlan(volume, policy, None, Outcome.WOULD_CREATE, "due")


def instance(name, *numbers, root=None, state="running"):
    ids = frozenset(f"vol-{number}" for number in numbers)
    return {name: Instance(name, state, f"vol-{root}" if root else None, ids | ({f"vol-{root}"} if root else set()))}


def units(plans, instances):
    return plan_creates(plans, instances, KEYS, Period.DAY)


def test_the_due_volumes_of_an_instance_are_one_call():
    (unit,) = units([due(1, "i-1"), due(2, "i-1")], instance("i-1", 1, 2))
    assert unit.is_set
    assert unit.volume_ids == ("vol-1", "vol-2")
    assert unit.tags == {
        "AUTO-SNAPSHOT-PERIOD": "day",
        "AUTO-SNAPSHOT-CONSISTENCY": "crash",
        "AUTO-SNAPSHOT-INSTANCE": "i-1",
        "AUTO-SNAPSHOT-SET": "",
    }
    assert unit.description == "Daily snapshot of instance i-1, policy P"


def test_volumes_that_are_not_due_are_excluded():
    """The root volume is excluded by its own switch."""
    (unit,) = units([due(1, "i-1"), due(2, "i-1")], instance("i-1", 1, 2, 3, 4, root=9))
    assert unit.exclude_boot
    assert unit.exclude_data == ("vol-3", "vol-4")


def test_a_root_volume_that_is_due_is_not_excluded():
    (unit,) = units([due(1, "i-1"), due(9, "i-1")], instance("i-1", 1, root=9))
    assert not unit.exclude_boot
    assert unit.exclude_data == ()


def test_several_policies_of_one_instance_share_one_call():
    """The call names them."""
    (unit,) = units([due(1, "i-1", policy="A"), due(2, "i-1", policy="B")], instance("i-1", 1, 2))
    assert unit.description == "Daily snapshot of instance i-1, policies A, B"


@pytest.mark.parametrize(
    ("plans", "instances"),
    [
        pytest.param([due(1, "i-1")], instance("i-1", 1, 2), id="only one is due"),
        pytest.param([due(1), due(2)], {}, id="they are detached"),
        pytest.param([due(1, "i-1"), due(2, "i-1")], {}, id="the instance is not known"),
        pytest.param([due(1, "i-1", "i-2"), due(2, "i-1", "i-2")], instance("i-1", 1, 2), id="they are multi-attached"),
        pytest.param(
            [due(1, "i-1"), due(2, "i-1")], instance("i-1", 1), id="one was attached after the instance was read"
        ),
        pytest.param([due(1, "i-1"), due(2, "i-1")], instance("i-1", *range(1, 44)), id="41 exclusions are too many"),
        pytest.param(
            [due(1, "i-1"), due(2, "i-1", **{f"k{n}": "v" for n in range(46)})],
            instance("i-1", 1, 2),
            id="one set of tags would not fit",
        ),
        pytest.param(
            [due(1, "i-1"), due(2, "i-1", **{"AUTO-SNAPSHOT-PERIOD": "day"})],
            instance("i-1", 1, 2),
            id="one volume bears one of our keys",
        ),
    ],
)
def test_volumes_are_taken_singly_if_one_call_cannot_express_it(plans, instances):
    calls = units(plans, instances)
    assert [unit.is_set for unit in calls] == [False] * len(plans)
    assert [unit.volume_ids for unit in calls] == [(plan.volume.id,) for plan in plans]


def test_forty_exclusions_still_fit():
    (unit,) = units([due(1, "i-1"), due(2, "i-1")], instance("i-1", *range(1, 43)))
    assert len(unit.exclude_data) == 40


def test_a_multi_attached_volume_is_excluded_from_each_set():
    """The sets of all its instances."""
    plans = [due(1, "i-1"), due(2, "i-1"), due(3, "i-1", "i-2")]
    one_set, alone = units(plans, {**instance("i-1", 1, 2, 3), **instance("i-2", 3)})
    assert one_set.exclude_data == ("vol-3",)
    assert alone.tags["AUTO-SNAPSHOT-INSTANCE"] == "i-1 i-2"


@pytest.mark.parametrize(
    ("attached_to", "states", "expected"),
    [
        ((), {}, "offline"),
        (("i-1",), {"i-1": "stopped"}, "offline"),
        (("i-1",), {"i-1": "running"}, "crash"),
        (("i-1",), {"i-1": "stopping"}, "crash"),
        (("i-1",), {}, "crash"),
        (("i-1", "i-2"), {"i-1": "stopped", "i-2": "running"}, "crash"),
        (("i-1", "i-2"), {"i-1": "stopped"}, "crash"),
        (("i-1", "i-2"), {"i-1": "stopped", "i-2": "stopped"}, "offline"),
    ],
)
def test_only_what_nothing_can_be_writing_to_is_offline(attached_to, states, expected):
    known = {name: Instance(name, state, None, frozenset({"vol-1"})) for name, state in states.items()}
    (unit,) = units([due(1, *attached_to)], known)
    assert unit.consistency is Consistency(expected)
    assert unit.tags["AUTO-SNAPSHOT-CONSISTENCY"] == expected


def test_a_set_on_a_stopped_instance_is_offline():
    (unit,) = units([due(1, "i-1"), due(2, "i-1")], instance("i-1", 1, 2, state="stopped"))
    assert unit.consistency is Consistency.OFFLINE


def test_a_single_volume_s_tags_and_description_are_complete():
    (unit,) = units([due(1, Name="db")], {})
    assert unit.tags == {
        "AUTO-SNAPSHOT-PERIOD": "day",
        "AUTO-SNAPSHOT-CONSISTENCY": "offline",
        "AUTO-SNAPSHOT-SET": "",
        "AUTO-SNAPSHOT": "P",
        "Name": "db",
    }
    assert unit.description == "Daily snapshot of volume vol-1, policy P"


def test_descriptions_stay_within_ec2_s_255_characters():
    long = [due(n, "i-1", policy="x" * 120 + str(n)) for n in (1, 2, 3)]
    (unit,) = units(long, instance("i-1", 1, 2, 3))
    assert len(unit.description) <= 255
