"""Makes one script of a module of documents/ and all the modules that it imports, since a document has one file only.

The script is a shell's and Python's at once (documents/head.sh). What would mean something else in one file than in
several is an error, as is what the agent would replace.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "documents"
HEAD = "head.sh"
OLDEST = (3, 6)

_PARAMETER = re.compile(r"""(["'])\{\{ \w+ \}\}\1""")
_BUILTINS = frozenset(name for name in dir(builtins) if not name.startswith("__"))


@dataclass(frozen=True, order=True)
class Import:
    """One name from the standard library: `import module`, or `from module import name`."""

    is_from: bool  # first, since `import` lines stand before `from` lines
    module: str
    name: str
    alias: str  # empty without one

    @property
    def bound(self) -> str:
        return self.alias or (self.name if self.is_from else self.module.partition(".")[0])

    @property
    def meaning(self) -> str:
        if self.is_from:
            return f"'{self.name}' of '{self.module}'"
        return f"the module '{self.module if self.alias else self.bound}'"

    @property
    def text(self) -> str:
        name = self.name if self.is_from else self.module
        return f"{name} as {self.alias}" if self.alias else name


@dataclass(frozen=True)
class Module:
    """A module of documents/, taken apart."""

    name: str
    docstring: str  # as in the source, with its quotes
    summary: str  # the docstring's text
    body: str  # all but docstring and imports
    needs: dict[str, frozenset[str]]  # module of documents/ -> names imported from it
    imports: frozenset[Import]
    defines: frozenset[str]

    @property
    def file(self) -> str:
        return f"{PACKAGE}/{self.name}.py"


def script(entry: str, folder: Path) -> str:
    """The script of the module `entry`, which comes last in it; ValueError if it would not do what the modules do."""
    modules = modules_of(entry, folder)
    _check_names(modules)
    head = (folder / HEAD).read_text(encoding="utf-8")
    imports = _import_lines(frozenset[Import]().union(*(module.imports for module in modules)))
    sections = [f"{_title(module)}\n{module.body}" for module in modules[:-1] if module.body]
    last = modules[-1].body
    sections.append(f"# --- {entry} ---\n{last}" if sections else last)
    start = "\n\n".join(part.strip("\n") for part in (head, modules[-1].docstring, imports) if part)
    return "\n\n".join([start, *sections]).strip("\n") + "\n"


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
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            _check_import(file, node, is_at_top=node in statements)
    needs: dict[str, frozenset[str]] = {}
    imports: set[Import] = set()
    for statement in statements:
        names = frozenset(alias.name for alias in statement.names)
        if isinstance(statement, ast.ImportFrom) and _is_own(str(statement.module)):
            needed = str(statement.module).removeprefix(f"{PACKAGE}.")
            needs[needed] = needs.get(needed, frozenset()) | names
        else:
            imports.update(_imports(statement))
    docstring = tree.body[:1] if ast.get_docstring(tree, clean=False) is not None else []
    lines = text.split("\n")
    cut = {line for node in [*docstring, *statements] for line in _lines(file, lines, node)}
    cut.update(line for node in _docstrings(tree) for line in _lines_of(node))
    body = _narrowed(line for i, line in enumerate(lines, 1) if i not in cut)
    return Module(
        name=name,
        docstring="\n".join(lines[i - 1] for node in docstring for i in _lines(file, lines, node)),
        summary=ast.get_docstring(tree) or "",
        body=body,
        needs=needs,
        imports=frozenset(imports),
        defines=frozenset(_defined(file, body, tree)),
    )


def _lines(file: str, lines: list[str], node: ast.stmt) -> range:
    """The lines of a statement, which must have them for itself."""
    last = node.end_lineno or node.lineno
    rest = lines[last - 1].encode()[node.end_col_offset :].strip()
    if node.col_offset or (rest and not rest.startswith(b"#")):
        raise ValueError(f"{file}:{node.lineno}: give an import or a docstring a line of its own")
    return range(node.lineno, last + 1)


def _docstrings(tree: ast.Module) -> Iterator[ast.stmt]:
    """Those of classes and functions that have more than that; they are for readers of the source."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) and len(node.body) > 1:
            yield node.body[0]


def _lines_of(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _narrowed(lines: Iterable[str]) -> str:
    """Without empty lines and indented by one blank a level: a document has 64 KB at most."""
    levels = (re.sub("^(?:    )+", lambda found: " " * (len(found[0]) // 4), line) for line in lines)
    return "\n".join(line for line in levels if line.strip())


def _imports(statement: ast.Import | ast.ImportFrom) -> Iterator[Import]:
    for alias in statement.names:
        if isinstance(statement, ast.ImportFrom):
            yield Import(True, str(statement.module), alias.name, alias.asname or "")
        else:
            yield Import(False, alias.name, "", alias.asname or "")


def _defined(file: str, body: str, tree: ast.Module) -> Iterator[str]:
    """The names that a module without its imports has."""
    for symbol in symtable.symtable(body, file, "exec").get_symbols():
        if symbol.is_assigned() or symbol.is_imported():
            yield symbol.get_name()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield from node.names


def _check_import(file: str, node: ast.Import | ast.ImportFrom, *, is_at_top: bool) -> None:
    is_from = isinstance(node, ast.ImportFrom)
    names = [str(node.module)] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    fault = None
    if isinstance(node, ast.ImportFrom) and node.level:
        fault = f"relative import; write `from {PACKAGE}.module import name`"
    elif any(alias.name == "*" for alias in node.names):
        fault = "import of *; write the names"
    elif own := next(filter(_is_own, names), None):
        if not is_from or own == PACKAGE:
            fault = f"import of {own}; write `from {PACKAGE}.module import name`"
        elif not is_at_top:
            fault = f"import from {own} inside a block; write it at the top"
        elif any(alias.asname for alias in node.names):
            fault = f"import from {own} under another name, which one script cannot have"
    else:
        fault = next((each for each in map(_fault_of_foreign, names) if each), None)
    if fault:
        raise ValueError(f"{file}:{node.lineno}: {fault}")


def _fault_of_foreign(module: str) -> str | None:
    if module == "__future__":
        return "Python 3.6 has nothing in __future__ that a script needs"
    if module.partition(".")[0] in sys.stdlib_module_names:
        return None
    return f"{module} is neither of the standard library nor of {PACKAGE}"


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def _check_parameters(file: str, text: str, tree: ast.Module) -> None:
    """The agent replaces what is in {{ }} wherever it stands: therefore only a whole string may be that."""
    allowed: dict[int, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and _PARAMETER.fullmatch(ast.get_source_segment(text, node) or ""):
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
        meanings = [(each.bound, each.meaning) for each in sorted(module.imports)]
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


def _import_lines(imports: frozenset[Import]) -> str:
    plain = [f"import {each.text}" for each in sorted(imports) if not each.is_from]
    sources = sorted({each.module for each in imports if each.is_from})
    names = {
        source: [each.text for each in sorted(imports) if each.is_from and each.module == source] for source in sources
    }
    return "\n".join([*plain, *(f"from {source} import {', '.join(names[source])}" for source in sources)])


def _title(module: Module) -> str:
    """The docstring as a comment, since only the first string of a file is one."""
    first, *rest = module.summary.split("\n")
    title = f"{module.name}: {first.removesuffix('.')}" if first else module.name
    return "\n".join([f"# --- {title} ---", *(f"# {line}".rstrip() for line in rest)])
