"""What a policy may send to a document that root runs: plain words, which reach the script's variables as they are.

The agent puts a value into the script's text before any shell reads it. AWS does not say whether `allowedPattern` has
to match the whole value, nor whose `$` it is, so it is read here in the loosest way: found anywhere, `$` before a last
line end as well.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.documents.agent import checked, document_content, substituted
from tests.support.campaign import sized
from tests.support.template import resources

SHELL_READS = set("'\"$`\\;&|<>(){}[]*?~#! \t\r\n\x00")
LINE_ENDS = ("\n", "\r\n", "\r", "\x85", "\u2028", "\u2029")
"""What Java's `$` lets stand at the end."""

HOSTILE = [
    "'; id; '",
    "'$(id)'",
    "$(id)",
    "`id`",
    "${IFS}id",
    "x'\nid\n'",
    "\nid\n",
    "\\'; id #",
    '"; id; "',
    "&& id",
    "| id",
    "{{ command }}",
    "{{ssm:/root/password}}",
    "\N{RIGHT SINGLE QUOTATION MARK}; id",
    "\N{FULLWIDTH APOSTROPHE}; id",
    "\x00id",
]


@functools.cache
def documents():
    return {name: document_content(name) for name in resources("AWS::SSM::Document")}


def every_parameter():
    """Document, parameter, and the pattern of what it may be; a list of values is a pattern, too."""
    for document, content in documents().items():
        for name, rule in content["parameters"].items():
            pattern = rule.get("allowedPattern") or f"^({'|'.join(map(re.escape, rule['allowedValues']))})$"
            yield pytest.param(document, name, pattern, id=f"{document} {name}")


def accepts(pattern, value):
    """As the loosest of the engines that may judge it."""
    without_end = next((value.removesuffix(end) for end in LINE_ENDS if value.endswith(end)), value)
    return re.search(pattern, value) is not None or re.search(pattern, without_end) is not None


def test_there_are_documents_with_parameters():
    assert {"FilesystemDocument", "MySqlDocument", "PostgreSqlDocument"} <= documents().keys()
    assert len(list(every_parameter())) > 20


def test_parameters_are_single_quoted_in_the_scripts():
    """They stand nowhere else in a shell."""
    for content in documents().values():
        for step in content["mainSteps"]:
            assert step["inputs"].keys() == {"timeoutSeconds", "runCommand"}
            for text in step["inputs"]["runCommand"]:
                places = re.findall(r"\{\{.*?\}\}", text)
                assert len(places) == len(re.findall(r"(?m)^[a-z_]+='\{\{ \w+ \}\}'$", text))
                assert not re.search(r"\beval\b", text)


@pytest.mark.parametrize(("document", "name", "pattern"), list(every_parameter()))
def test_hostile_values_are_refused(document, name, pattern):
    assert pattern.startswith("^")
    assert pattern.endswith("$")
    for hostile in HOSTILE:
        for value in (hostile, "1" + hostile, hostile + "1", "a" + hostile, "/a" + hostile, "vol-01234567" + hostile):
            assert not accepts(pattern, value), value
    for option in ("-x", "--", "--defaults-extra-file=/tmp/x", "-oProxyCommand=id"):
        assert not accepts(pattern, option), option


@pytest.mark.campaign
@pytest.mark.parametrize(("document", "name", "pattern"), list(every_parameter()))
def test_a_value_with_shell_syntax_is_refused(document, name, pattern):
    """Its place in the value does not matter."""

    @settings(max_examples=sized(1_000, 20, 20))
    @given(st.from_regex(pattern, fullmatch=True), st.data())
    def holds(good, data):
        at = data.draw(st.integers(0, len(good)))
        bad = data.draw(st.sampled_from(sorted(SHELL_READS)) | st.characters(min_codepoint=0x80))
        value = good[:at] + bad + good[at:]
        assert not accepts(pattern, value) or (bad in LINE_ENDS and at == len(good))

    holds()


@pytest.mark.campaign
@pytest.mark.parametrize("document", documents())
def test_an_accepted_value_reaches_the_script_unchanged(document):
    """Under a plain shell, with a line end behind it where an engine may allow one."""
    content = documents()[document]
    (text,) = content["mainSteps"][0]["inputs"]["runCommand"]
    lines, expected = [], []
    for line, variable, name in re.findall(r"(?m)^(([a-z_]+)='\{\{ (\w+) \}\}')$", text):
        for value in accepted_values(content["parameters"][name]):
            lines += [f"{variable}=unset", substituted(line, {name: value}), f"printf '%s\\0' \"${variable}\""]
            expected.append(value)
    ran = subprocess.run(["sh"], input="\n".join(lines).encode(), capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.decode().split("\0")[:-1] == expected
    assert len(expected) > 50


def accepted_values(rule):
    if "allowedValues" in rule:
        return rule["allowedValues"]
    found = []

    @settings(max_examples=sized(1_000, 20, 20), database=None)
    @given(st.from_regex(rule["allowedPattern"]))
    def collect(value):
        found.append(value)

    collect()
    return found


def test_a_value_that_a_pattern_let_through_would_be_run():
    """That the test above can fail: without the patterns a quote ends the word."""
    line = substituted("database='{{ database }}'", {"database": "x'; printf run #"})
    assert subprocess.run(["sh"], input=line, capture_output=True, text=True, check=True).stdout == "run"


def test_the_defaults_pass_their_own_patterns():
    for content in documents().values():
        assert checked(content, {}).keys() == content["parameters"].keys()


def mysql_function(name):
    (text,) = documents()["MySqlDocument"]["mainSteps"][0]["inputs"]["runCommand"]
    warn = re.search(r"(?m)^warn\(\).*$", text)
    function = re.search(rf"(?ms)^{name}\(\) \{{.*?^\}}$", text)
    assert warn
    assert function
    return textwrap.dedent(f"{warn[0]}\n{function[0]}\n")


@pytest.mark.parametrize(
    ("mode", "owner", "expected"),
    [(0o644, 0, True), (0o600, 0, True), (0o664, 0, False), (0o646, 0, False), (0o600, 65534, False), (None, 0, False)],
    ids=["root's", "root's alone", "its group's as well", "everybody's", "somebody else's", "a directory"],
)
def test_root_s_client_reads_no_option_file_others_could_write(tmp_path, mode, owner, expected):
    path = tmp_path / "client.cnf"
    if mode is None:
        path.mkdir()
    else:
        path.write_text("[client]\n")
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, owner, 0)
        elif expected:
            path = type(path)("/etc/passwd")  # a file of root's, where the tests are not
    script = mysql_function("is_roots_own") + f'is_roots_own "{path}"'
    ran = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=False)
    assert (ran.returncode == 0) is expected
    assert ("must be root's" in ran.stderr) is not expected
