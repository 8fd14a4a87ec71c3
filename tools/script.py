"""Makes one script of a module of documents/ and all the modules that it imports, since a document has one file only.

The script is a shell's and Python's at once (documents/head.sh). It has no docstrings, comments and empty lines and is
indented by one blank a level, since a document may have 64 KB. What would mean something else in one file than in
several is an error, as is what the agent would replace.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "documents"
HEAD = "head.sh"
OLDEST = (3, 6)

_PARAMETER = re.compile(r"""(["'])\{\{ \w+ \}\}\1""")
_BUILTINS = frozenset(name for name in dir(builtins) if not name.startswith("__"))


@dataclass(frozen=True)
class Module:
    """A module of documents/, taken apart."""

    name: str
    title: str
    body: str  # all but docstrings and imports
    needs: dict[str, set[str]]  # module of documents/ -> names imported from it
    imports: dict[str, str]  # name -> module of the standard library that it is from, or "" if it is one
    defines: frozenset[str]

    @property
    def file(self) -> str:
        return f"{PACKAGE}/{self.name}.py"


def script(entry: str, folder: Path) -> str:
    """The script of the module `entry`, which comes last in it; ValueError if it would not do what the modules do."""
    modules = modules_of(entry, folder)
    _check_names(modules)
    head = (folder / HEAD).read_text(encoding="utf-8").rstrip("\n")
    sections = [f"# --- {module.title} ---\n{module.body}" for module in modules]
    return "\n\n".join(filter(None, [head, _import_lines(modules), *sections])) + "\n"


def modules_of(entry: str, folder: Path) -> list[Module]:
    """The module and all that it needs, each after what it needs itself."""
    done: dict[str, Module] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            raise ValueError(f"{PACKAGE}/{name}.py: a circle of imports: {circle}")
        if name in done:
            return
        if not (folder / f"{name}.py").is_file():
            raise ValueError(f"{PACKAGE}/{path[-1] if path else name}.py: there is no module {PACKAGE}.{name}")
        module = _read(name, folder, is_entry=not path)
        for needed, names in module.needs.items():
            visit(needed, (*path, name))
            if missing := names - done[needed].defines:
                raise ValueError(f"{module.file}: {PACKAGE}.{needed} does not define {', '.join(sorted(missing))}")
        done[name] = module

    visit(entry, ())
    return list(done.values())


def _read(name: str, folder: Path, *, is_entry: bool) -> Module:
    text = (folder / f"{name}.py").read_text(encoding="utf-8")
    file = f"{PACKAGE}/{name}.py"
    tree = ast.parse(text, file, feature_version=OLDEST)
    _check_parameters(file, text, tree)
    if not is_entry and any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(tree)):
        raise ValueError(
            f"{file}: __name__ is '__main__' in all parts of a script; only the document's own module may use it"
        )
    statements = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    needs: dict[str, set[str]] = {}
    imports: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and (fault := _fault_of_import(node, node in statements)):
            raise ValueError(f"{file}:{node.lineno}: {fault}")
    for statement in statements:
        source = str(statement.module) if isinstance(statement, ast.ImportFrom) else ""
        names = {alias.name for alias in statement.names}
        if _is_own(source):
            needs.setdefault(source.removeprefix(f"{PACKAGE}."), set()).update(names)
        else:
            imports.update(dict.fromkeys(names, source))
    summary = (ast.get_docstring(tree) or "").partition("\n")[0].removesuffix(".")
    body = _body(file, text, tree)
    return Module(
        name=name,
        title=f"{name}: {summary}" if summary else name,
        body=body,
        needs=needs,
        imports=imports,
        defines=frozenset(_defined(file, body, tree)),
    )


def _body(file: str, text: str, tree: ast.Module) -> str:
    """The module without imports, docstrings, comments on lines of their own and empty lines, narrowed.

    What is inside a string stays as it is.
    """
    cut: set[int] = set()
    within_strings: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            within_strings.update(_lines(node)[1:])
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            is_documented = ast.get_docstring(node) is not None and (len(node.body) > 1 or node is tree)
            unneeded = set(node.body[:1] if is_documented else [])
            if node is tree:
                unneeded.update(each for each in node.body if isinstance(each, ast.Import | ast.ImportFrom))
            cut.update(line for each in unneeded for line in _lines(each))
            node.body = [each for each in node.body if each not in unneeded]
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        if number in within_strings - cut:
            lines.append(line)
        elif number not in cut and line.strip() and not line.lstrip().startswith("#"):
            lines.append(re.sub("^(?:    )+", lambda found: " " * (len(found[0]) // 4), line))
    body = "\n".join(lines)
    if not _is_same(body, tree):
        raise ValueError(f"{file}: indent by four blanks, and give each import and each docstring lines of its own")
    return body


def _lines(node: ast.expr | ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _is_same(body: str, tree: ast.Module) -> bool:
    try:
        return ast.dump(ast.parse(body)) == ast.dump(tree)
    except SyntaxError:
        return False


def _defined(file: str, body: str, tree: ast.Module) -> Iterator[str]:
    """The names that a module without its imports has."""
    for symbol in symtable.symtable(body, file, "exec").get_symbols():
        if symbol.is_assigned() or symbol.is_imported():
            yield symbol.get_name()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield from node.names


def _fault_of_import(node: ast.Import | ast.ImportFrom, is_at_top: bool) -> str | None:
    is_from = isinstance(node, ast.ImportFrom)
    modules = [str(node.module)] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    remedy = f"write `from {PACKAGE}.module import name` at the top"
    if isinstance(node, ast.ImportFrom) and node.level:
        return f"relative import; {remedy}"
    if any(alias.name == "*" for alias in node.names):
        return "import of *; write the names"
    if any(_is_own(module) and (not is_from or module == PACKAGE or not is_at_top) for module in modules):
        return f"import of {modules[0]}; {remedy}"
    if is_at_top and any(alias.asname or (not is_from and "." in alias.name) for alias in node.names):
        return "import under another name than its own; write `import module` or `from module import name`"
    if "__future__" in modules:
        return "Python 3.6 has nothing in __future__ that a script needs"
    known = {PACKAGE, *sys.stdlib_module_names}
    foreign = [module for module in modules if module.partition(".")[0] not in known]
    return f"{foreign[0]} is neither of the standard library nor of {PACKAGE}" if foreign else None


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def _check_parameters(file: str, text: str, tree: ast.Module) -> None:
    """The agent replaces what is in {{ }} wherever it stands: therefore only a whole string may be that."""
    allowed: dict[int, int] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or "{{" not in str(node.value):
            continue  # what follows takes its time
        if _PARAMETER.fullmatch(ast.get_source_segment(text, node) or ""):
            allowed[node.lineno] = allowed.get(node.lineno, 0) + 1
    for number, line in enumerate(text.split("\n"), 1):
        if line.count("{{") != allowed.get(number, 0):
            raise ValueError(
                f"{file}:{number}: '{{{{' is the agent's; write a parameter as a whole string, "
                f'"{{{{ name }}}}", and other braces apart: {line.strip()}'
            )


def _check_names(modules: list[Module]) -> None:
    """Each name means the same in all modules, and no module hides a built-in name from the others."""
    known: dict[str, tuple[str, str]] = {}
    for module in modules:
        meanings = [(name, f"{source}'s" if source else "a module") for name, source in module.imports.items()]
        meanings += [(name, f"{PACKAGE}.{module.name}'s own") for name in sorted(module.defines)]
        for name, meaning in meanings:
            if name in _BUILTINS:
                raise ValueError(f"{module.file}: the name {name!r} hides a built-in one in the whole script")
            other, other_meaning = known.setdefault(name, (module.file, meaning))
            if meaning != other_meaning:
                raise ValueError(
                    f"{module.file}: the name {name!r} is {meaning}, and in {other} it is {other_meaning}; "
                    "one script can have one of them"
                )


def _import_lines(modules: list[Module]) -> str:
    names: dict[str, set[str]] = {}
    for module in modules:
        for name, source in module.imports.items():
            names.setdefault(source, set()).add(name)
    lines = [f"import {name}" for name in sorted(names.pop("", ()))]
    return "\n".join(
        [*lines, *(f"from {source} import {', '.join(sorted(names[source]))}" for source in sorted(names))]
    )
