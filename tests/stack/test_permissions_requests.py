"""What the role allows and what not: each row a sentence about one resource that IAM is asked about.

A call is made when every resource that it touches is allowed. Evaluated by `tests/stack/iam_matcher.py`, not by AWS.
"""

from __future__ import annotations

import pytest

from tests.stack.iam_matcher import allows
from tests.stack.role import (
    ACCOUNT,
    DEFAULT,
    FULL,
    KEY_ARN,
    OTHER_ACCOUNT,
    REGION,
    SHARED,
    STACK,
    VOLUME_KEYS,
    Statement,
    statements,
)

SNAPSHOT = f"arn:aws:ec2:{REGION}::snapshot/snap-0123456789abcdef0"
VOLUME = f"arn:aws:ec2:{REGION}:{ACCOUNT}:volume/vol-0123456789abcdef0"
INSTANCE = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-0123456789abcdef0"
PARAMETERS = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/auto-snapshots/policies"
DOCUMENTS = f"arn:aws:ssm:{REGION}:{ACCOUNT}:document"
OURS = {"aws:ResourceTag/AUTO-SNAPSHOT-PERIOD": "hour"}
GIVEN = {"aws:RequestTag/AUTO-SNAPSHOT-PERIOD": "hour"}
PERIOD, WORD = "AUTO-SNAPSHOT-PERIOD", "AUTO-SNAPSHOT-CONSISTENCY"
HERE, ELSEWHERE = {"aws:RequestedRegion": REGION}, {"aws:RequestedRegion": "us-east-1"}
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{STACK}"
VIA_SSM = {
    "kms:ViaService": f"ssm.{REGION}.amazonaws.com",
    "kms:EncryptionContext:PARAMETER_ARN": f"{PARAMETERS}/SECRET",
}

VOLUME_KEY = VOLUME_KEYS[1]
VIA_EC2 = {"kms:ViaService": f"ec2.{REGION}.amazonaws.com"}
FOR_AWS = {**VIA_EC2, "kms:GrantIsForAWSResource": "true"}


@pytest.mark.parametrize(("action", "resource", "context", "expected"), [
    pytest.param("ec2:DeleteSnapshot", SNAPSHOT, OURS, True, id="a snapshot with our key can be deleted"),
    pytest.param("ec2:DeleteSnapshot", SNAPSHOT, {}, False, id="a snapshot without our key cannot be deleted"),
    pytest.param("ec2:DeleteSnapshot", SNAPSHOT, {"aws:ResourceTag/AUTO-SNAPSHOT": "P"}, False,
                 id="a copied selection tag does not make a snapshot ours"),
    pytest.param("ec2:DeleteSnapshot", SNAPSHOT.replace(REGION, "us-east-1"), OURS, False,
                 id="a snapshot of another Region cannot be deleted"),
    pytest.param("ec2:CreateSnapshot", SNAPSHOT, GIVEN, True, id="a snapshot can be created with the period's tag"),
    pytest.param("ec2:CreateSnapshot", SNAPSHOT, {}, False, id="a snapshot cannot be created without the period's tag"),
    pytest.param("ec2:CreateSnapshots", SNAPSHOT, GIVEN, True, id="so can a set"),
    pytest.param("ec2:CreateSnapshots", SNAPSHOT, {}, False, id="nor can a set"),
    pytest.param("ec2:CreateSnapshot", VOLUME, {"aws:ResourceTag/AUTO-SNAPSHOT": "P"}, True,
                 id="a selected volume can be snapshotted"),
    pytest.param("ec2:CreateSnapshot", VOLUME, {"aws:ResourceTag/AUTO-SNAPSHOTS": "P"}, True,
                 id="one selected with the S too"),
    pytest.param("ec2:CreateSnapshot", VOLUME, {"aws:ResourceTag/Name": "db"}, False, id="one not selected cannot"),
    pytest.param("ec2:CreateSnapshots", VOLUME, {}, True, id="in a set any volume of the instance can"),
    pytest.param("ec2:CreateSnapshots", INSTANCE, {}, True, id="a set is created of an instance"),
    pytest.param("ec2:CreateSnapshots", INSTANCE.replace(ACCOUNT, OTHER_ACCOUNT), {}, False,
                 id="of an instance of this account"),
    pytest.param("ec2:CreateTags", SNAPSHOT, {**GIVEN, "ec2:CreateAction": "CreateSnapshot", "aws:TagKeys":
                 ("Name", PERIOD)}, True, id="any tag can be given in a create call"),
    pytest.param("ec2:CreateTags", SNAPSHOT, {"ec2:CreateAction": "CreateSnapshots", "aws:TagKeys": ("Name",)}, False,
                 id="but not without ours"),
    pytest.param("ec2:CreateTags", SNAPSHOT, {**GIVEN, "ec2:CreateAction": "CopySnapshot"}, False,
                 id="nor in another call that creates"),
    pytest.param("ec2:CreateTags", SNAPSHOT, {**OURS, "aws:TagKeys": (PERIOD,)}, True,
                 id="the period's tag can be changed later"),
    pytest.param("ec2:CreateTags", SNAPSHOT, {**OURS, "aws:TagKeys": (WORD,)}, True,
                 id="the consistency's tag can be changed later"),
    pytest.param("ec2:CreateTags", SNAPSHOT, {**OURS, "aws:TagKeys": ("Name",)}, False,
                 id="a tag other than the two cannot be changed later"),
    pytest.param("ec2:CreateTags", SNAPSHOT, {**OURS, "aws:TagKeys": (PERIOD, "Name")}, False,
                 id="not even beside one of the two"),
    pytest.param("ec2:CreateTags", SNAPSHOT, OURS, False, id="an empty list of keys passes nothing"),
    pytest.param("ec2:CreateTags", SNAPSHOT, {**GIVEN, "aws:TagKeys": (PERIOD,)}, False,
                 id="a snapshot that is not ours cannot be made ours"),
    pytest.param("ec2:CreateTags", VOLUME, {**OURS, "aws:TagKeys": (PERIOD,)}, False, id="a volume cannot be tagged"),
    pytest.param("ec2:DescribeVolumes", "*", HERE, True, id="volumes are listed in the stack's Region"),
    pytest.param("ec2:DescribeVolumes", "*", ELSEWHERE, False, id="and in no other"),
    pytest.param("ssm:CancelCommand", "*", ELSEWHERE, False, id="commands are cancelled in no other Region"),
    pytest.param("ssm:GetParametersByPath", PARAMETERS, {"ssm:Recursive": "false"}, True, id="the path can be listed"),
    pytest.param("ssm:GetParametersByPath", PARAMETERS, {}, True, id="also where the request does not say how deep"),
    pytest.param("ssm:GetParametersByPath", PARAMETERS, {"ssm:Recursive": "true"}, False, id="but not what is deeper"),
    pytest.param("ssm:GetParametersByPath", f"{PARAMETERS}/deeper", {}, False, id="and no path below it"),
    pytest.param("ssm:GetParametersByPath", PARAMETERS.removesuffix("/policies"), {}, False, id="nor the one above"),
    pytest.param("ssm:GetParameter", f"{PARAMETERS}/SECRET", {}, True, id="a policy can be read"),
    pytest.param("ssm:GetParameter", f"{PARAMETERS}-of-others/SECRET", {}, False, id="a parameter beside the path not"),
    pytest.param("ssm:SendCommand", f"{DOCUMENTS}/auto-snapshots-{STACK}-mysql", {}, True,
                 id="the stack's documents can be sent"),
    pytest.param("ssm:SendCommand", f"{DOCUMENTS}/auto-snapshots-other-mysql", {}, False, id="another stack's cannot"),
    pytest.param("ssm:SendCommand", f"{DOCUMENTS}/our-hooks-srv", {}, True, id="a name the deployer gave can"),
    pytest.param("ssm:SendCommand", SHARED, {}, True, id="an ARN the deployer gave can"),
    pytest.param("ssm:SendCommand", f"arn:aws:ssm:{REGION}::document/AWS-RunShellScript", {}, False,
                 id="a shell for everything cannot"),
    pytest.param("ssm:SendCommand", INSTANCE, {}, True, id="instances of the account can be sent to"),
    pytest.param("ssm:SendCommand", INSTANCE.replace(REGION, "us-east-1"), {}, False, id="in this Region"),
    pytest.param("ssm:SendCommand", f"arn:aws:ssm:{REGION}:{ACCOUNT}:managed-instance/mi-0123456789abcdef0", {}, False,
                 id="and no machines of elsewhere"),
    pytest.param("kms:CreateGrant", VOLUME_KEY, FOR_AWS, True, id="EC2 can have a grant on a volume's key"),
    pytest.param("kms:CreateGrant", VOLUME_KEY, VIA_EC2, False, id="nobody but an AWS service can"),
    pytest.param("kms:CreateGrant", KEY_ARN, FOR_AWS, False, id="and on no other key"),
    pytest.param("kms:Decrypt", VOLUME_KEY, VIA_EC2, True, id="a volume's key can be used through EC2"),
    pytest.param("kms:Decrypt", VOLUME_KEY, {}, False, id="but not by the function itself"),
    pytest.param("kms:GenerateDataKeyWithoutPlaintext", VOLUME_KEY, VIA_SSM, False, id="nor through another service"),
    pytest.param("lambda:InvokeFunction", FUNCTION, {}, True, id="the function can invoke itself"),
    pytest.param("lambda:InvokeFunction", f"{FUNCTION}:live", {}, True, id="also by an alias or a version"),
    pytest.param("lambda:InvokeFunction", f"{FUNCTION}-of-others", {}, False, id="but no function beside it"),
    pytest.param("lambda:InvokeFunction", f"{FUNCTION}-of-others:live", {}, False, id="nor an alias of that one"),
    pytest.param("kms:Decrypt", KEY_ARN, VIA_SSM, True, id="the policies' key decrypts policies"),
    pytest.param("kms:Decrypt", KEY_ARN, {**VIA_SSM, "kms:ViaService": f"s3.{REGION}.amazonaws.com"}, False,
                 id="through Parameter Store only"),
    pytest.param("kms:Decrypt", KEY_ARN, {**VIA_SSM, "kms:EncryptionContext:PARAMETER_ARN": f"{PARAMETERS}-x/Y"}, False,
                 id="and no other parameter"),
])  # fmt: skip
def test_a_request_is_allowed_as_its_sentence_says(action, resource, context, expected):
    assert allows(FULL, action, resource, context) is expected


@pytest.mark.parametrize("resource", [f"{DOCUMENTS}/our-hooks-srv", SHARED])
def test_by_default_no_document_but_the_stack_s_can_be_sent(resource):
    assert not allows(DEFAULT, "ssm:SendCommand", resource, {})


@pytest.mark.parametrize("key", ["Backup", "our snapshots", "team:db/backup@home"])
def test_another_tag_key_stands_in_every_condition(key):
    theirs = statements({"TagKey": key})
    assert allows(theirs, "ec2:DeleteSnapshot", SNAPSHOT, {f"aws:ResourceTag/{key}-PERIOD": "hour"})
    assert allows(theirs, "ec2:CreateSnapshot", VOLUME, {f"aws:ResourceTag/{key}S": "P"})
    assert not any("AUTO-SNAPSHOT" in str(statement.conditions) for statement in theirs)


def test_a_statement_unknown_to_the_matcher_is_an_error():
    strange = Statement("S", "Allow", ("ec2:DeleteSnapshot",), ("*",), (("IpAddress", "aws:SourceIp", ("::1",)),))
    with pytest.raises(NotImplementedError, match="IpAddress"):
        allows([strange], "ec2:DeleteSnapshot", SNAPSHOT, {})
