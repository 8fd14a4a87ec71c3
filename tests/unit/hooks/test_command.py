"""The parameters that a document gets."""

from __future__ import annotations

import dataclasses

import pytest

from lambda_function.errors import AwsError
from lambda_function.hooks.command import Stage, parameters_for
from tests.support.freezing import BOTH
from tests.support.ssm import FULL


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        pytest.param("/dev/sdf", "/dev/sdf", id="as the console proposes it"),
        pytest.param("xvdf", "/dev/xvdf", id="as some type it for Xen"),
        pytest.param("/dev/xvda1", "/dev/xvda1", id="with a number"),
        pytest.param("disk f", None, id="any text"),
        pytest.param("/dev/mapper/x", None, id="no name of a disk"),
        pytest.param("", None, id="none"),
    ],
)
def test_a_device_name_is_sent_in_the_documents_form(one, typed, sent):
    """EC2 returns it as it was typed."""
    one.ssm.documents["DOC"] = FULL | {"volumeDevices"}
    document = one.ssm.describe_document("DOC")
    plan = dataclasses.replace(one.plan, document=document, devices={"i-1": {BOTH: typed}})
    parameters = parameters_for(plan, Stage.PRE, "i-1", "x")
    assert parameters.get("volumeDevices") == ([f"{BOTH}={sent}"] if sent else None)


@pytest.mark.parametrize("secret", ["two\nlines of it", "back\\slash\x1b[2J", '\u202ereversed "quote"'])
def test_a_secret_is_redacted_however_an_error_shows_it(one, secret):
    plan = dataclasses.replace(one.plan, parameters={"secretId": [secret]})
    error = AwsError("SendCommand", "InvalidParameters", f"the value {secret} is not allowed")
    assert plan.redact(str(error)).endswith("the value (hook_parameters.secretId) is not allowed")
