"""What becomes of botocore's exceptions."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from lambda_function.aws.errors import translated
from lambda_function.errors import AwsError

ENCODED = "Encoded authorization failure message: " + "x" * 1_500


@pytest.mark.parametrize(
    ("code", "is_whole"),
    [
        pytest.param("UnauthorizedOperation", True, id="a refusal, whose encoded message can only be decoded whole"),
        pytest.param("InvalidParameterValue", False, id="anything else"),
    ],
)
def test_only_a_refusal_is_quoted_at_length(code, is_whole):
    answer = {"Error": {"Code": code, "Message": ENCODED}}
    with pytest.raises(AwsError) as raised, translated("CreateSnapshot"):
        raise ClientError(answer, "CreateSnapshot")  # type: ignore[arg-type]  # botocore's answer has more
    assert (raised.value.message == ENCODED) is is_whole
    assert is_whole or len(raised.value.message) == 500
