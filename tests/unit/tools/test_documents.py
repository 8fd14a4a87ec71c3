"""template.yaml carries the documents of documents/, and the builder changes nothing else in it."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml

from tests.documents.agent import document_content
from tests.support.template import resources
from tools import documents
from tools.documents import DOCUMENTS, TEMPLATE, assemble, main, rebuild
from tools.script import HEAD, modules_of

SHIPPED = resources("AWS::SSM::Document")
BLOCK = """\
# made by 'make template' from documents/one.yaml: begin
{}# made by 'make template' from documents/one.yaml: end
"""


@pytest.fixture
def folder(tmp_path):
    """A copy of documents/, to be changed."""
    return shutil.copytree(DOCUMENTS, tmp_path / "documents")


def test_template_is_up_to_date():
    text = TEMPLATE.read_bytes().decode()
    is_up_to_date = rebuild(text) == text  # outside the assert, since pytest would compare the texts line by line
    assert is_up_to_date, "template.yaml and documents/ differ: run `make template`"


@pytest.mark.parametrize("logical_id", SHIPPED)
def test_each_document_in_the_template_comes_from_the_folder(logical_id):
    content = SHIPPED[logical_id]["Properties"]["Content"]
    assert content == document_content(logical_id), "template.yaml and documents/ differ: run `make template`"


def test_every_file_of_the_folder_is_part_of_a_document():
    files = {path.name: path.read_text(encoding="utf-8") for path in DOCUMENTS.iterdir() if path.is_file()}
    included = {name for text in files.values() for name in re.findall(r"# include: (\S+)", text)}
    for name in [name for name in included if name.endswith(".py")]:
        included |= {f"{module.name}.py" for module in modules_of(name.removesuffix(".py"), DOCUMENTS)}
    built = set(re.findall(r"from documents/(\S+): begin", TEMPLATE.read_text(encoding="utf-8")))
    assert files.keys() == included | built | {"__init__.py", HEAD}


@pytest.mark.parametrize("name", ["filesystem", "mysql", "postgresql"])
def test_a_script_reaches_its_document_as_it_is(name):
    """The block in the YAML loses neither a blank nor a line."""
    (step,) = yaml.safe_load(assemble(f"{name}.yaml"))["mainSteps"]
    assert step["inputs"]["runCommand"] == [assemble(f"{name}.py")]


@pytest.mark.parametrize("name", ["filesystem", "mysql", "postgresql"])
def test_a_document_is_within_the_64_kb_of_systems_manager(name):
    """Counted as JSON, in which line ends and quotes are two characters."""
    assert len(json.dumps(yaml.safe_load(assemble(f"{name}.yaml")))) <= 64 * 1024


@pytest.mark.parametrize(
    ("file", "line"),
    [
        pytest.param("stages.py", "A_LINE = 'in all scripts'", id="a module that all need"),
        pytest.param("parameters.yaml", "# a line in all metadata", id="the shared parameters"),
    ],
)
def test_a_change_of_what_is_shared_reaches_all_three(folder, file, line):
    (folder / file).write_text((folder / file).read_text() + line + "\n")
    before = rebuild(TEMPLATE.read_bytes().decode())
    after = rebuild(before, folder)
    assert after.count(line) == 3
    has_no_other_change = re.sub(rf" *{line}\n", "", after) == before
    assert has_no_other_change


def test_a_change_in_one_document_stays_there(folder):
    path = folder / "mysql.py"
    path.write_text(path.read_text() + "A_LINE = 1\n")
    assert rebuild(TEMPLATE.read_bytes().decode(), folder).count("A_LINE = 1\n") == 1


@pytest.mark.parametrize("around", ["", "x: 1  \r\n\r\n", "\ttab\n  \n", "# comment\n", "\N{SNOWMAN}\n"])
def test_what_is_outside_the_blocks_stays_byte_for_byte(tmp_path, around):
    (tmp_path / "one.yaml").write_text("new: 1\n")
    old, new = BLOCK.format("old: 1\nolder: 2\n"), BLOCK.format("new: 1\n")
    assert rebuild(around + old + around + old + around, tmp_path) == around + new + around + new + around


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param("a\n\nb\n", "a\n\nb\n", id="an empty line"),
        pytest.param('"""\n   \n"""\n', '"""\n   \n"""\n', id="a line of blanks, as in a string"),
        pytest.param(
            "if a:\n    # include: part\nb\n", "if a:\n    x\n\n    y\nb\n", id="a part under an indented line"
        ),
        pytest.param("a\n# include: part", "a\nx\n\ny\n", id="no line end at the end"),
        pytest.param("a\\1\\n\tb  \n", "a\\1\\n\tb  \n", id="backslashes, tabs and trailing blanks"),
    ],
)
def test_what_is_included_is_indented_and_nothing_else(tmp_path, script, expected):
    (tmp_path / "part").write_text("x\n\ny\n")
    (tmp_path / "script").write_text(script)
    (tmp_path / "one.yaml").write_text("run:\n  - |\n    # include: script\n")
    assert yaml.safe_load(rebuild(BLOCK.format(""), tmp_path)) == {"run": [expected]}


PYTHON_DOCUMENT = """\
parameters:
  # include: parameters.yaml
  port:
    default: "1"
mainSteps:
  - runCommand:
      - |
        # include: one.py
"""


@pytest.fixture
def python_folder(tmp_path):
    """A document with two parameters, one of them shared, and a script in Python."""
    shutil.copy(DOCUMENTS / HEAD, tmp_path)
    (tmp_path / "one.yaml").write_text(PYTHON_DOCUMENT)
    (tmp_path / "parameters.yaml").write_text("command:\n  allowedValues: [a]\n")
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('a = "{{ command }}"\nb = "{{ port }}"\n', id="parameters, shared and own"),
        pytest.param('a = """\n   \n\n\tb  \n"""\nif a:\n\tpass\n', id="lines of blanks, tabs and trailing blanks"),
        pytest.param('a = {"b": {"c": 1}}\nd = "\\n\\\\ # it\'s: |"\n', id="braces, backslashes and quotes"),
        pytest.param("a = '\N{SNOWMAN}'\n", id="other characters"),
    ],
)
def test_a_python_script_reaches_its_document_as_it_is(python_folder, text):
    (python_folder / "one.py").write_text(text)
    (step,) = yaml.safe_load(assemble("one.yaml", python_folder))["mainSteps"]
    assert step["runCommand"] == [assemble("one.py", python_folder)]
    assert step["runCommand"][0].endswith(f"\n# --- one ---\n{text}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param('a = "{{ mainSteps }}"', "declared", id="a parameter that is not declared"),
        pytest.param('a = "{{ allowedValues }}"', "declared", id="a field of a parameter"),
        pytest.param("a = '\x0c'", r"YAML does not keep the character '\\x0c'", id="a form feed"),
        pytest.param("a = '\x85'", "YAML does not keep", id="a line end of YAML's"),
        pytest.param("a = '\u2028'", "YAML does not keep", id="another line end of YAML's"),
        pytest.param("a = '\ufeff'", "YAML does not keep", id="a byte order mark"),
    ],
)
def test_what_a_document_would_damage_is_an_error(python_folder, text, fault):
    (python_folder / "one.py").write_text(f"{text}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"one\.yaml:\d+: .*{fault}"):
        assemble("one.yaml", python_folder)


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("a: 1\n", id="no block"),
        pytest.param(BLOCK.format("").replace("end", "END"), id="no end"),
        pytest.param(BLOCK.format("") + BLOCK.format("").replace("begin", "BEGIN"), id="no begin of a second one"),
        pytest.param("  " + BLOCK.format(""), id="another indentation"),
    ],
)
def test_a_damaged_mark_is_an_error_rather_than_passed_over(tmp_path, template):
    (tmp_path / "one.yaml").write_text("new: 1\n")
    with pytest.raises(ValueError, match=r"give each ': begin' an ': end'"):
        rebuild(template, tmp_path)


def test_check_reports_a_difference_and_changes_nothing(tmp_path, monkeypatch):
    text = rebuild(TEMPLATE.read_bytes().decode()).encode()
    old = text.replace(b"XFS and ext4", b"XFS")
    path = tmp_path / "template.yaml"
    path.write_bytes(old)
    monkeypatch.setattr(documents, "TEMPLATE", path)
    assert main(["--check"]) == "template.yaml and documents/ differ: run `make template`"
    assert path.read_bytes() == old
    assert main([]) is None
    is_written = path.read_bytes() == text
    assert is_written
    assert main(["--check"]) is None
