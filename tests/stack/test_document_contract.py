"""The shipped documents and the sequence speak the same language; no root needed. See tests/documents for the rest."""

from __future__ import annotations

import uuid

import pytest

from lambda_function.hooks.command import FreezePlan, Stage, check_parameters, parameters_for
from lambda_function.ports import HookDocument
from tests.documents.agent import RefusedError, checked, document_content

DOCUMENTS = ["FilesystemDocument", "MySqlDocument", "PostgreSqlDocument"]


def plan_for(logical_id, **fields):
    declared = frozenset(document_content(logical_id)["parameters"])
    usual = {
        "document": HookDocument(logical_id, "1", declared),
        "instance_ids": ("i-0123456789abcdef0",),
        "volume_ids": ("vol-0123456789abcdef0", "vol-01234567"),
        "policy": "CRITICAL",
        "period": "hour",
        "timeout_seconds": 600,
        "devices": {"i-0123456789abcdef0": {"vol-0123456789abcdef0": "/dev/sda1", "vol-01234567": "xvdb; reboot"}},
    }
    return FreezePlan(**{**usual, **fields})


@pytest.mark.parametrize("logical_id", DOCUMENTS)
@pytest.mark.parametrize("stage", list(Stage))
def test_every_document_accepts_what_the_sequence_sends(logical_id, stage):
    plan = plan_for(logical_id)
    check_parameters(plan)
    sent = parameters_for(
        plan, stage, "i-0123456789abcdef0", str(uuid.uuid4()), ["snap-0123456789abcdef0"], not_after=1_800_000_000
    )
    values = checked(document_content(logical_id), {name: value for name, (value,) in sent.items()})
    assert values["command"] == stage
    assert values["volumeIds"] == "vol-0123456789abcdef0,vol-01234567"
    assert values["volumeDevices"] == "vol-0123456789abcdef0=/dev/sda1"
    assert values["timeoutSeconds"] == "600"


@pytest.mark.parametrize("logical_id", DOCUMENTS)
@pytest.mark.parametrize("value", ["$(reboot)", "`reboot`", "'; reboot; '", "a\nreboot", 'x" y', "\\", "{{ command }}"])
def test_no_document_parameter_lets_a_policy_reach_the_shell(logical_id, value):
    content = document_content(logical_id)
    for name in content["parameters"]:
        with pytest.raises(RefusedError):
            checked(content, {name: value})
