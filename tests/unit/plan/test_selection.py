"""Which policy a volume's tags select, and why none applies: each case whole, with its words."""

from __future__ import annotations

import pytest

from lambda_function.inputs.policy import Parameter, parse_policies
from lambda_function.model.ec2 import Volume
from lambda_function.model.tags import TagKeys
from lambda_function.plan.selection import Obstacle, Selection, select

KEYS = TagKeys("AUTO-SNAPSHOT")
POLICIES = parse_policies(
    [
        Parameter("/p/ANY", '{"hour": 2}'),
        Parameter("/p/ATTACHED", '{"hour": 2, "only_attached_vols": true}'),
        Parameter("/p/FAULTY", '{"hour": "2"}'),
    ]
)
ANY, ATTACHED = POLICIES.valid["ANY"], POLICIES.valid["ATTACHED"]
MISSPELT = 'its tag "auto-snapshot" selects nothing; the key is AUTO-SNAPSHOT'
UNKNOWN = 'its tag names "ANYY", which is no policy; did you mean "ANY"?'
FAULTY = "policy FAULTY is faulty: nothing created, nothing deleted"
DETACHED = "the policy wants attached volumes only; this one is detached"


@pytest.mark.parametrize(
    ("tags", "state", "expected"),
    [
        pytest.param({"Name": "x"}, "in-use", None, id="no tag of ours"),
        pytest.param({"AUTO-SNAPSHOT": "ANY"}, "in-use", Selection("ANY", ANY), id="a policy"),
        pytest.param({"AUTO-SNAPSHOT": "ANY"}, "available", Selection("ANY", ANY), id="a policy, detached"),
        pytest.param({"AUTO-SNAPSHOTS": "ANY"}, "in-use", Selection("ANY", ANY), id="the key with an S"),
        pytest.param(
            {"auto-snapshot": "ANY"},
            "in-use",
            Selection(None, None, Obstacle.MISSPELT_TAG, MISSPELT),
            id="a misspelt key",
        ),
        pytest.param(
            {"AUTO-SNAPSHOT": "ANYY"},
            "in-use",
            Selection("ANYY", None, Obstacle.UNKNOWN_POLICY, UNKNOWN),
            id="no policy",
        ),
        pytest.param(
            {"AUTO-SNAPSHOT": "FAULTY"},
            "in-use",
            Selection("FAULTY", None, Obstacle.FAULTY_POLICY, FAULTY),
            id="a faulty policy",
        ),
        pytest.param(
            {"AUTO-SNAPSHOT": "ATTACHED"},
            "available",
            Selection("ATTACHED", ATTACHED, Obstacle.OUTSIDE_POLICY, DETACHED),
            id="a detached volume, and a policy for attached ones",
        ),
        pytest.param(
            {"AUTO-SNAPSHOT": "ANY"},
            "creating",
            Selection("ANY", ANY, Obstacle.OUTSIDE_POLICY, "the volume is creating, not in-use or available"),
            id="a volume that is not ready",
        ),
    ],
)
def test_each_volume_has_a_policy_or_a_reason_for_none(tags, state, expected):
    volume = Volume("vol-1", state, tags, ("i-1",) if state == "in-use" else ())
    assert select(volume, POLICIES, KEYS) == expected
