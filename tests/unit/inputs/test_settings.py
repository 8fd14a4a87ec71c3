from __future__ import annotations

import pytest

from lambda_function.errors import ConfigurationError
from lambda_function.inputs.settings import Settings, near_misses


def test_without_variables_the_documented_defaults_hold():
    settings = Settings.from_env({"PATH": "/bin", "AWS_REGION": "eu-west-1"})
    assert settings.keys.selection == "AUTO-SNAPSHOT"
    assert settings.policies_path == "/auto-snapshots/policies/"
    assert settings.metrics_namespace == "AutoSnapshots"


def test_variables_of_other_programs_are_none_of_our_business():
    others = {"STAGE_KEY": "x", "PAGE_KEY": "x", "API_KEY": "x", "PYTHONPATH": "/x", "FLAG_KEY": "x"}
    assert near_misses(others) == ()


def test_a_path_gets_its_last_slash():
    assert Settings.from_env({"POLICIES_PATH": "/a/b"}).policies_path == "/a/b/"


@pytest.mark.parametrize("key", ["Backup", "my:backup/policy", "A", "with space", "x" * 115])
def test_tag_keys_that_ec2_takes_are_taken(key):
    assert Settings.from_env({"TAG_KEY": key}).keys.selection == key


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TAG_KEY": ""}, 'TAG_KEY: "": must be a tag key'),
        ({"TAG_KEY": "aws:x"}, "TAG_KEY"),
        ({"TAG_KEY": "AWS:x"}, "TAG_KEY"),
        ({"TAG_KEY": "x" * 116}, "TAG_KEY"),
        ({"TAG_KEY": "AUTO*"}, "TAG_KEY"),
        ({"TAG_KEY": " AUTO-SNAPSHOT"}, "TAG_KEY"),
        ({"TAG_KEY": "AUTO-SNAPSHOT\n"}, "TAG_KEY"),
        ({"POLICIES_PATH": ""}, 'POLICIES_PATH: "": must be a parameter path'),
        ({"POLICIES_PATH": "/"}, "POLICIES_PATH"),
        ({"POLICIES_PATH": "auto/policies"}, "POLICIES_PATH"),
        ({"POLICIES_PATH": "/a//b"}, "POLICIES_PATH"),
        ({"POLICIES_PATH": "/aws/policies"}, "not beginning with /aws"),
        ({"POLICIES_PATH": "/a b"}, "POLICIES_PATH"),
        ({"METRICS_NAMESPACE": ""}, 'METRICS_NAMESPACE: "": must be 1 to 255'),
        ({"METRICS_NAMESPACE": "AWS/EC2"}, "not beginning with AWS/"),
        ({"METRICS_NAMESPACE": "x" * 256}, "METRICS_NAMESPACE"),
    ],
)
def test_a_wrong_variable_is_named_with_its_remedy(variables, expected):
    with pytest.raises(ConfigurationError) as raised:
        Settings.from_env(variables)
    assert expected in str(raised.value)
    str(raised.value).encode()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TAGKEY", "TAG_KEY"),
        ("tag_key", "TAG_KEY"),
        ("TAG_KEYS", "TAG_KEY"),
        ("TAG_KEY\udcff", "TAG_KEY"),
        ("POLICY_PATH", "POLICIES_PATH"),
        ("POLICIES_PATHS", "POLICIES_PATH"),
        ("TARGET_PATH", "TARGETS_PATH"),
        ("METRIC_NAMESPACE", "METRICS_NAMESPACE"),
    ],
)
def test_a_misspelt_variable_is_a_near_miss_and_not_read(name, meant):
    shown = name.replace("\udcff", "\\udcff")
    (line,) = near_misses({name: "x"})
    assert line == f"environment variable {shown}: is not read; did you mean {meant}?"
    line.encode()
    assert Settings.from_env({name: "x"}) == Settings.from_env({})


def test_our_own_variables_are_no_near_misses():
    ours = {"TAG_KEY": "x", "POLICIES_PATH": "/x", "TARGETS_PATH": "/y", "METRICS_NAMESPACE": "z"}
    assert near_misses(ours) == ()
