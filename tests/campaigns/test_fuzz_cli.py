"""The rest of what people write: environment variables, arguments, policy files. A value, or an error that says why."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lambda_function.cli import main as shell
from lambda_function.cli.arguments import parse_arguments
from lambda_function.cli.policies.files import read_files
from lambda_function.errors import ConfigurationError
from lambda_function.inputs.policy import FIELDS, Policy
from lambda_function.inputs.settings import Settings, near_misses
from lambda_function.model.period import Period
from tests.campaigns.fuzzing import altered, any_text, cases, plain_json

VARIABLES = ("TAG_KEY", "POLICIES_PATH", "METRICS_NAMESPACE")

# What os.environ can hold: no NUL, and half surrogate pairs where the bytes were not UTF-8.
environment_text = st.text(st.characters(exclude_characters="\x00"), max_size=40)
variables = st.dictionaries(
    st.sampled_from([*VARIABLES, "TAG_KEYS", "tag_key", "POLICY_PATH", "AWS_REGION"]) | environment_text,
    st.sampled_from(["AUTO-SNAPSHOT", "/auto-snapshots/policies", "/aws/x", "aws:x", ""]) | environment_text,
    max_size=4,
)


@cases(3_000)
@given(variables)
@example({"TAG_KEY\udcff": "x"})
def test_any_environment_gives_settings_or_one_clear_error(environ):
    """The error names the variable."""
    try:
        settings = Settings.from_env(environ)
    except ConfigurationError as error:
        text = str(error)
        text.encode()
        assert text.startswith("environment variable ")
        assert any(name in text for name in VARIABLES)
        assert "must be" in text
    else:
        assert settings.policies_path.startswith("/")
        assert settings.policies_path.endswith("/")
    for line in near_misses(environ):
        line.encode()
        assert "did you mean" in line


options = st.sampled_from(
    [
        "--dry-run",
        "--force",
        "--time",
        "--policy",
        "--volume",
        "--json",
        "--check",
        "--yes",
        "--prune",
        "--he",
        "--",
        "-",
    ]
)
commands = st.sampled_from(
    [*map(str, Period), "hooks", "status", "policies", "check", "diff", "push", "pull", "hourly"]
)


@cases(3_000)
@given(st.lists(commands | options | any_text, max_size=5))
def test_any_arguments_are_a_command_or_exit_2_with_a_reason(arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code, command = None, parse_arguments(arguments).command
        except SystemExit as ended:
            code, command = ended.code, None
    if code is None:
        assert command in {*map(str, Period), "hooks", "status", "policies"}
    elif code == 0:  # an abbreviation of --help
        assert "usage: " in out.getvalue()
    else:
        assert code == 2
        assert "error: " in err.getvalue()


policies = st.dictionaries(
    st.sampled_from(["CRITICAL", "hour", "$schema", "a b"]) | any_text,
    st.dictionaries(st.sampled_from([*FIELDS, "hook_module"]) | any_text, plain_json | st.integers(0, 9), max_size=4),
    max_size=3,
)
yaml_text = st.one_of(
    policies.map(lambda content: json.dumps(content, indent=2)),
    st.just(
        "CRITICAL:\n  hour: 24\n  day: 7\n  hook_parameters: {mode: [a, 'b']}\nMEH: {day: 0o7, week: yes, month: 1_0}\n"
    ),
    st.just("? [a]\n: &x {hour: 1}\n? b\n: *x\nc: !!int '1'\n---\nd: {}\n"),
    st.integers(100, 3_000).map(lambda depth: "{a: " * depth + "1" + "}" * depth),
)
contents = st.one_of(
    st.binary(max_size=300),
    yaml_text.flatmap(altered).map(lambda text: text.encode("utf-8", "replace")),
    yaml_text.map(lambda text: text.encode("utf-16")),
    st.text(max_size=300).map(lambda text: ("\ufeff" + text).encode()),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("policies")


@cases(3_000)
@given(contents, st.sampled_from(["p.json", "p.yaml", "p.yml"]))
def test_any_file_holds_policies_or_faults_with_their_lines(folder, raw, name):
    path: Path = folder / name
    path.write_bytes(raw)
    try:
        found = read_files(path)
    finally:
        path.unlink()
    assert found.policies or found.faults
    for fault in found.faults:
        str(fault).encode()
        assert (
            1
            <= fault.line
            <= max(1, raw.count(b"\n") + raw.count(b"\r") + len(raw.decode("utf-8", "replace").splitlines()) + 1)
        )
        assert len(fault.text) < 800
    assert all(isinstance(policy, Policy) for policy in found.valid.values())


@cases(1_000)
@given(st.sampled_from(["hour", "month"]), any_text | st.just("2026-13-01"), any_text)
def test_a_shell_run_that_cannot_begin_exits_with_2(period, time, policy):
    """It calls nothing in AWS."""
    err = io.StringIO()
    with (
        contextlib.redirect_stderr(err),
        contextlib.redirect_stdout(io.StringIO()),
        mock.patch.object(shell, "build_clients", side_effect=AssertionError("a client was built")),
    ):
        try:
            code: object = shell.main([period, f"--time=x{time}", f"--policy={policy}"])
        except SystemExit as ended:
            code = ended.code
    assert code == 2
    assert "error: " in err.getvalue()
