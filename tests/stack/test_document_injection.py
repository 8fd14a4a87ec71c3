"""What a policy may send to a document that root runs: plain words, which reach the script's strings as they are.

The agent puts a value into the script's text before any Python reads it. AWS does not say whether `allowedPattern` has
to match the whole value, nor whose `$` it is, so it is read here in the loosest way: found anywhere, `$` before a last
line end as well.
"""

from __future__ import annotations

import ast
import functools
import re
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents.mysql import check_option_file
from documents.stages import NotReadyError
from tests.documents.agent import checked, document_content, substituted
from tests.support.campaign import sized
from tests.support.template import resources

READ_BY_A_SHELL_OR_PYTHON = set("'\"$`\\;&|<>(){}[]*?~#! \t\r\n\x00")
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
    '", "x": __import__("os").system("id"), "y": "',
    '"\n}\n__import__("os").system("id")\nx = {"y": "',
    '" + str(__import__("os").system("id")) + "',
    '" # ',
    "\\",
    "\\x22",
    "\\N{QUOTATION MARK}",
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


def test_parameters_are_whole_strings_of_one_dict():
    """They stand nowhere else in a script: all but the one that is not used, each once."""
    for content in documents().values():
        (text,) = scripts(content)
        (block,) = re.findall(r"(?ms)^PARAMETERS = \{\n(.*?)^\}$", text)
        names = re.findall(r'(?m)^ "(\w+)": "\{\{ \1 \}\}",$', block)
        assert len(names) == block.count("\n") == text.count("{{")
        assert sorted(names) == sorted(content["parameters"].keys() - {"snapshotIds"})
        assert not re.search(r"\b(eval|exec|compile)\(|shell=", text)


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
def test_a_value_with_syntax_is_refused(document, name, pattern):
    """Its place in the value does not matter."""

    @settings(max_examples=sized(1_000, 20, 20))
    @given(st.from_regex(pattern, fullmatch=True), st.data())
    def holds(good, data):
        at = data.draw(st.integers(0, len(good)))
        bad = data.draw(st.sampled_from(sorted(READ_BY_A_SHELL_OR_PYTHON)) | st.characters(min_codepoint=0x80))
        value = good[:at] + bad + good[at:]
        assert not accepts(pattern, value) or (bad in LINE_ENDS and at == len(good))

    holds()


@pytest.mark.campaign
@pytest.mark.parametrize("document", documents())
def test_an_accepted_value_reaches_the_script_unchanged(document):
    """One with a line end behind it, which an engine's `$` may admit, makes the whole a fault of syntax."""
    content = documents()[document]
    (text,) = scripts(content)
    defaults = checked(content, {})
    values = [(name, value) for name, rule in content["parameters"].items() for value in accepted_values(rule)]
    tree = ast.parse(text)
    for name, value in values:
        expected = {**defaults, name: value}
        if value.endswith(("\n", "\r")) and name != "snapshotIds":
            with pytest.raises(SyntaxError):
                ast.parse(substituted(text, expected))
        else:
            (part,) = re.findall(r"(?ms)^PARAMETERS = \{\n.*?^\}$", substituted(text, expected))
            assert parameters_of(ast.parse(part)) == {key: expected[key] for key in parameters_of(tree)}
    assert len(values) > 50


def parameters_of(tree):
    (value,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "PARAMETERS"
    ]
    return ast.literal_eval(value)


def accepted_values(rule):
    """With line ends behind some, as `$` admits."""
    if "allowedValues" in rule:
        return rule["allowedValues"]
    found = []

    @settings(max_examples=sized(1_000, 20, 20), database=None)
    @given(st.from_regex(rule["allowedPattern"]))
    def collect(value):
        found.append(value)

    collect()
    return [*found, *(rule["default"] + end for end in LINE_ENDS)]


@pytest.mark.parametrize("document", documents())
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CR LF", "CR"])
def test_nothing_runs_of_a_value_with_a_line_end(document, end, tmp_path):
    """Python reads a program to its end before it runs any of it."""
    content = documents()[document]
    (text,) = scripts(content)
    line = 'print("has run")\n'
    text = text.replace("\nimport ", f"\n{line}import ", 1)
    assert line in text
    for name in content["parameters"].keys() - {"snapshotIds"}:
        values = checked(content, {})
        ran = run_python(tmp_path, substituted(text, {**values, name: values[name] + end}))
        assert (ran.returncode, ran.stdout) == (1, "")
        assert "SyntaxError" in ran.stderr


def test_a_value_that_a_pattern_let_through_would_be_run(tmp_path):
    """That the tests above can fail: without the patterns a quote ends the string."""
    (text,) = scripts(documents()["PostgreSqlDocument"])
    hostile = {**checked(documents()["PostgreSqlDocument"], {}), "database": '" + str(print("run")) + "'}
    assert "run\n" in run_python(tmp_path, substituted(text, hostile).partition("\n}\n")[0] + "\n}\n").stdout


def scripts(content):
    (step,) = content["mainSteps"]
    assert step["inputs"].keys() == {"timeoutSeconds", "runCommand"}
    return step["inputs"]["runCommand"]


def run_python(folder, text):
    path = folder / "script.py"
    path.write_bytes(text.encode())
    return subprocess.run([sys.executable, "-I", "-S", path], capture_output=True, text=True, check=False)


def test_the_defaults_pass_their_own_patterns():
    for content in documents().values():
        assert checked(content, {}).keys() == content["parameters"].keys()


@pytest.mark.parametrize(
    ("mode", "owner", "fault"),
    [
        pytest.param(stat.S_IFREG | 0o644, 0, None, id="root's"),
        pytest.param(stat.S_IFREG | 0o600, 0, None, id="root's alone"),
        pytest.param(stat.S_IFREG | 0o664, 0, "must be root's", id="its group's as well"),
        pytest.param(stat.S_IFREG | 0o646, 0, "must be root's", id="everybody's"),
        pytest.param(stat.S_IFREG | 0o600, 65534, "must be root's", id="somebody else's"),
        pytest.param(stat.S_IFDIR | 0o755, 0, "must be root's", id="a directory"),
        pytest.param(stat.S_IFIFO | 0o600, 0, "must be root's", id="a pipe"),
    ],
)
def test_the_client_reads_no_option_file_of_others(monkeypatch, mode, owner, fault):
    """Whoever runs this test, it is root who asks."""
    status = SimpleNamespace(st_mode=mode, st_uid=owner)
    monkeypatch.setattr("documents.mysql.os", SimpleNamespace(stat=lambda path: status))
    if fault:
        with pytest.raises(NotReadyError, match=fault):
            check_option_file("/etc/my.cnf")
    else:
        check_option_file("/etc/my.cnf")


def test_an_option_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(NotReadyError, match="cannot be read"):
        check_option_file(str(tmp_path / "none"))
