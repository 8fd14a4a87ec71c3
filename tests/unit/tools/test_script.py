"""One script of several modules: it does what they do, whatever shell starts it."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import textwrap

import pytest

from tools.documents import DOCUMENTS
from tools.script import HEAD, script

LAYOUT = '''\
"""Which file systems.

A plan has their names.
"""

import os
from typing import List, Tuple

from documents.kernel import read

LIMIT = 2  # a plain number


def make_plan() -> List[str]:
    """The plan."""
    return [os.path.basename(path) for path in read()][:LIMIT]


Plan = Tuple[str, ...]
'''

KERNEL = '''\
"""What the kernel says."""

import sys
import os
from typing import (
    Dict,
    List,
)


# Not all.
def read() -> List[str]:
    names: Dict[str, int] = {"/a": 1, "/b": 2, "/c": 3}
    return [os.path.normpath(name) for name in names if sys]
'''

MYSQL = '''\
"""Locks and freezes.

A document's script.
"""

import json
import sys

from documents.kernel import read
from documents.layout import (
    LIMIT,  # of the plan
    make_plan,
)

COMMAND = "{{ command }}"


def main() -> int:
    print(json.dumps([make_plan(), len(read()), LIMIT, COMMAND, sys.argv[1:]]))
    return 3


if __name__ == "__main__":
    sys.exit(main())
'''

SCRIPT = """
import json
import os
import sys
from typing import Dict, List, Tuple

# --- kernel: What the kernel says ---
def read() -> List[str]:
 names: Dict[str, int] = {"/a": 1, "/b": 2, "/c": 3}
 return [os.path.normpath(name) for name in names if sys]

# --- layout: Which file systems ---
LIMIT = 2  # a plain number
def make_plan() -> List[str]:
 return [os.path.basename(path) for path in read()][:LIMIT]
Plan = Tuple[str, ...]

# --- mysql: Locks and freezes ---
COMMAND = "{{ command }}"
def main() -> int:
 print(json.dumps([make_plan(), len(read()), LIMIT, COMMAND, sys.argv[1:]]))
 return 3
if __name__ == "__main__":
 sys.exit(main())
"""

SHELLS = [["sh"], ["dash"], ["bash", "--posix"], ["bash"], ["busybox", "sh"]]
USABLE = [shell for shell in SHELLS if shutil.which(shell[0])]


@pytest.fixture
def folder(tmp_path):
    """Three modules, of which each needs those before it."""
    shutil.copy(DOCUMENTS / HEAD, tmp_path)
    for name, text in {"kernel": KERNEL, "layout": LAYOUT, "mysql": MYSQL}.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def write(folder, **modules):
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))


def test_a_script_is_its_head_the_imports_and_each_module_once(folder):
    assert script("mysql", folder) == f"{(DOCUMENTS / HEAD).read_text()}{SCRIPT}"


def test_a_module_that_needs_no_other_is_the_script(tmp_path):
    shutil.copy(DOCUMENTS / HEAD, tmp_path)
    write(tmp_path, one='"""One."""\n\nimport sys\n\nsys.exit(0)\n')
    assert script("one", tmp_path).endswith("\n# '''\n\nimport sys\n\n# --- one: One ---\nsys.exit(0)\n")


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        pytest.param(["import os", "import os"], "import os", id="one twice"),
        pytest.param(["import sys, os", "import json"], "import json\nimport os\nimport sys", id="several in a line"),
        pytest.param(["from a", "from a"], "from os import a", id="one name twice"),
        pytest.param(["from b", "from a, c"], "from os import a, b, c", id="names of one module"),
        pytest.param(["from a", "import time"], "import time\nfrom os import a", id="both kinds"),
        pytest.param(["import re  # noqa", "import \\\n    os"], "import os\nimport re", id="a comment, two lines"),
    ],
)
def test_the_imports_of_all_modules_are_merged(folder, imports, expected):
    first, second = (text.replace("from ", "from os import ") for text in imports)
    (folder / "kernel.py").write_text(f"{first}\n\nread = 1\n")
    (folder / "mysql.py").write_text(f"{second}\nfrom documents.kernel import read\n\nprint(read)\n")
    text = script("mysql", folder).removeprefix((DOCUMENTS / HEAD).read_text())
    assert text == f"\n{expected}\n\n# --- kernel ---\nread = 1\n\n# --- mysql ---\nprint(read)\n"


@pytest.mark.parametrize(
    ("layout", "fault"),
    [
        pytest.param("read = 1", r"layout\.py: the name 'read' .* documents/kernel\.py", id="a name twice"),
        pytest.param("class read: pass", r"layout\.py: the name 'read'", id="a class and a function"),
        pytest.param("if 1:\n  for read in []: pass", r"layout\.py: the name 'read'", id="in a block"),
        pytest.param("def f():\n  global read\n  read = 1", r"layout\.py: the name 'read'", id="a global"),
        pytest.param(
            "from documents.kernel import read\nread = 1", r"layout\.py: the name 'read'", id="a second meaning"
        ),
        pytest.param("import sys\nsys = 1", r"layout\.py: the name 'sys'", id="a second meaning of an import"),
        pytest.param("from os import read", r"layout\.py: the name 'read'", id="an import and a function"),
        pytest.param(
            "from os import sys",
            r"'sys' is os's, and in documents/kernel\.py it is a module",
            id="a module and a part of one",
        ),
        pytest.param("def print(): pass", "'print' hides a built-in", id="a built-in name"),
        pytest.param("from os import open", "'open' hides a built-in", id="an imported built-in name"),
        pytest.param("import yaml", r"layout\.py:1: yaml is neither", id="another package"),
        pytest.param("from yaml.nodes import Node", r"yaml\.nodes is neither", id="a part of a package"),
        pytest.param("def f():\n  import yaml", r"layout\.py:2: yaml is neither", id="inside a function"),
        pytest.param("from tools import costs", "tools is neither", id="the project's other packages"),
        pytest.param("from __future__ import annotations", "__future__", id="the future"),
        pytest.param("from . import kernel", "relative import", id="a relative import"),
        pytest.param("from .kernel import read", "relative import", id="from a relative module"),
        pytest.param("from os import *", "write the names", id="everything"),
        pytest.param("import documents.kernel", r"from documents\.module import", id="a module as a whole"),
        pytest.param("from documents import kernel", r"from documents\.module import", id="a module by name"),
        pytest.param("from documents.kernel import read as r", "another name", id="another name"),
        pytest.param("import time as t", "another name", id="another name of a module"),
        pytest.param("import os.path", "another name", id="a module of a package"),
        pytest.param("def f():\n    from documents.kernel import read", "at the top", id="a late import"),
        pytest.param(
            "from documents.kernel import nothing",
            r"layout\.py: documents\.kernel does not define nothing",
            id="a name that is not there",
        ),
        pytest.param("from documents.kernel import sys", "does not define sys", id="another's import"),
        pytest.param("from documents.nothing import a", r"no module documents\.nothing", id="no such module"),
        pytest.param("from documents.mysql import main", "circle of imports: mysql -> layout -> mysql", id="a circle"),
        pytest.param("from documents.layout import a", "circle of imports: layout -> layout", id="itself"),
        pytest.param("import os; b = 1", r"layout\.py: .* give each import", id="a statement after an import"),
        pytest.param("b = 1; import os", r"layout\.py: .* give each import", id="a statement before an import"),
        pytest.param('def f(): "f"; return 1', r"layout\.py: .* each docstring", id="a docstring in a line with code"),
        pytest.param("if 1:\n  if 1:\n    b = 1\n", r"layout\.py: indent by four blanks", id="another indentation"),
        pytest.param("if __name__ == '__main__': pass", "__name__", id="a shared module's own main"),
        pytest.param('a = f"{{b}}"', r"layout\.py:1: '{{' is the agent's", id="braces of an f-string"),
        pytest.param('a = f"{{ command }}"', "is the agent's", id="a parameter in an f-string"),
        pytest.param("# {{ command }}", "is the agent's", id="a parameter in a comment"),
        pytest.param('"""{{ command }}"""', "is the agent's", id="a parameter as docstring"),
        pytest.param('a = "x {{ command }}"', "is the agent's", id="a parameter within a string"),
        pytest.param('a = "{{ssm:x}}"', "is the agent's", id="a parameter of Parameter Store"),
        pytest.param('a = b"{{ command }}"', "is the agent's", id="a parameter in bytes"),
        pytest.param('a = r"{{ command }}"', "is the agent's", id="a parameter in a raw string"),
    ],
)
def test_what_one_script_cannot_do_is_an_error(folder, layout, fault):
    write(folder, layout=f"{layout}\na = 1\n")
    write(folder, mysql="from documents.kernel import read\nfrom documents.layout import a\n\ndef main(): pass\n")
    with pytest.raises(ValueError, match=rf"^documents/.*{fault}"):
        script("mysql", folder)


@pytest.mark.parametrize("text", ["if (a := 1): pass", "def f(a, /): pass", "match 1:\n  case 1: pass"])
def test_a_module_with_newer_syntax_is_an_error(folder, text):
    write(folder, layout=text)
    with pytest.raises(SyntaxError):
        script("mysql", folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "def f():\n    sys = read = 1\n    return [read for main in []]\n",
            "def f():\n sys = read = 1\n return [read for main in []]\n",
            id="names inside functions",
        ),
        pytest.param(
            "def f():\n    import os\n    from time import time\n",
            "def f():\n import os\n from time import time\n",
            id="imports inside functions",
        ),
        pytest.param(
            "try:\n    import fcntl\nexcept ImportError:\n    pass\n",
            "try:\n import fcntl\nexcept ImportError:\n pass\n",
            id="an import that may fail",
        ),
        pytest.param("A = \"{{ command }}\", '{{ notAfter }}'\n", None, id="two parameters in a line"),
        pytest.param('A = {"b": {"c": 1}}\nB = f"{A}"\n', None, id="braces that are no parameter's"),
        pytest.param(
            'class A:\n    """An a."""\n\n    def f(self):\n        """A\n        b."""\n\n        return 1\n',
            "class A:\n def f(self):\n  return 1\n",
            id="docstrings",
        ),
        pytest.param(
            'class A(Exception):\n    """An a."""\n', 'class A(Exception):\n """An a."""\n', id="no other body"
        ),
        pytest.param("f(\n    1,\n      2,\n)\n", "f(\n 1,\n   2,\n)\n", id="indentation that is no level"),
    ],
)
def test_what_is_a_modules_own_affair_keeps_its_meaning(folder, text, expected):
    (folder / "layout.py").write_text(f"LIMIT = make_plan = 1\n{text}")
    assert f"LIMIT = make_plan = 1\n{expected or text}\n# --- mysql" in script("mysql", folder)


@pytest.mark.parametrize("quotes", ["'''{}'''", 'f"""{}"""', 'b"""{}"""'], ids=["plain", "formatted", "of bytes"])
def test_no_blank_and_no_line_within_a_string_is_lost(folder, quotes):
    text = quotes.format("SELECT 1,\n        2\n\n    \n    FROM 3;\n    ")
    (folder / "layout.py").write_text(f"make_plan = 1\nif make_plan:\n    LIMIT = {text}\n")
    assert f"if make_plan:\n LIMIT = {text}\n" in script("mysql", folder)


@pytest.mark.parametrize("shell", USABLE, ids=" ".join)
@pytest.mark.parametrize("is_relative", [False, True], ids=["by its path", "in its directory"])
def test_a_script_runs_in_any_shell_with_all_arguments(folder, shell, is_relative):
    path = write_script(folder, script("mysql", folder), python=f'exec "{sys.executable}" "$@"')
    ran = run(*shell, path.name if is_relative else str(path), "a", "b  'c'", "", "$HOME\n", cwd=folder)
    assert (ran.returncode, ran.stderr) == (3, "")
    assert ran.stdout == '[["a", "b"], 3, 2, "{{ command }}", ["a", "b  \'c\'", "", "$HOME\\n"]]\n'


def test_a_script_is_a_program_for_both(folder):
    """For Python without a warning, and for the system by its first line."""
    path = write_script(folder, script("mysql", folder), python=f'exec "{sys.executable}" "$@"')
    by_python = run(sys.executable, "-W", "error", str(path), "a")
    by_itself = run(str(path), "a")
    assert (by_python.returncode, by_python.stderr) == (3, "")
    assert (by_itself.returncode, by_itself.stdout) == (3, by_python.stdout)


def test_python_reads_only_a_string_in_the_head():
    (head,) = ast.parse((DOCUMENTS / HEAD).read_text()).body
    assert isinstance(head, ast.Expr)
    assert isinstance(head.value, ast.Constant)


@pytest.mark.parametrize("shell", USABLE, ids=" ".join)
@pytest.mark.parametrize(
    ("python", "code"),
    [
        pytest.param(None, 206, id="none"),
        pytest.param("exit 1", 206, id="one that is too old"),
        pytest.param("echo 'Unknown option: -I' >&2; exit 2", 206, id="one too old for its options"),
        pytest.param('[ "$3" = -c ] || echo "$3"', 0, id="one that is new enough"),
    ],
)
def test_without_a_python_that_is_new_enough_a_script_refuses(tmp_path, shell, python, code):
    path = write_script(tmp_path, (DOCUMENTS / HEAD).read_text(), python=python)
    ran = run(*shell, str(path))
    assert ran.returncode == code
    assert ran.stdout == ("" if code else f"{path}\n")
    assert ran.stderr.startswith("auto-snapshots: no Python 3.6 or newer" if code else "")
    assert ran.stderr.count("\n") == (1 if code else 0)


def test_the_version_that_the_head_asks_for():
    """Its question is answered by Pythons' versions, compared as Python does."""
    (question,) = [line for line in (DOCUMENTS / HEAD).read_text().splitlines() if "-c '" in line]
    code = question.split("'")[1]
    for version, expected in {"(2, 7, 18)": 1, "(3, 5, 10)": 1, "(3, 6, 0)": 0, "(3, 14, 0)": 0, "(4, 0)": 0}.items():
        asked = code.replace("sys.version_info", version)
        assert run(sys.executable, "-c", asked).returncode == expected


def write_script(folder, text, *, python):
    """The script, with a directory in place of its PATH that has this python3, or none, and no second Python."""
    places = {
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin\n": f"PATH={folder}/bin\n",
        "/usr/libexec/platform-python;": f"{folder}/bin/platform-python;",
    }
    for before, after in places.items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    (folder / "bin").mkdir()
    for path, content in {"bin/python3": python and f"#!/bin/sh\n{python}\n", "script.sh": text}.items():
        if content is not None:
            (folder / path).write_text(content)
            (folder / path).chmod(0o700)
    return folder / "script.sh"


def run(*command, cwd=None):
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
