"""Rules on the source itself, each the result of an earlier mistake."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from cottoncandy.backends import BACKENDS
from tests.cases import each
from tests.docs.test_reference import BESIDE, documented
from tests.docs.test_reference import MODULES as MODULES_OF_THE_REFERENCE

PACKAGE = Path(__file__).resolve().parent.parent / "cottoncandy"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 600

#: Modules that may print or prompt: documented output goes through one helper, and an
#: authorisation without a web browser is typed in.
TALKS = {("core/output.py", "print"), ("backends/gdrive/auth.py", "input")}


@functools.cache
def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), path)


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(tree(path)))


def strings(node: ast.AST) -> Iterator[str]:
    """Yield the texts in an operand, which is a constant, a tuple, a list or a set."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        for element in node.elts:
            yield from strings(element)


def comparisons_with_a_backend(nodes: Iterable[ast.AST]) -> Iterator[int]:
    """Yield the lines where something is compared with, or matched to, a backend's name."""
    for node in nodes:
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            operands = [node.value]
        else:
            continue
        both = len(operands) == 2 and all(getattr(each, "attr", "") == "name" for each in operands)
        if both or any(text in BACKENDS for operand in operands for text in strings(operand)):
            yield node.lineno


@each(
    "code",
    [
        "if backend == 's3': pass",
        "x = 'gdrive' != self.backend",
        "if name in ('local', 'memory'): pass",
        "if source.name != dest.backend.name: pass",
        "match backend:\n    case 'memory': pass",
    ],
)
def test_the_rule_on_names_sees_comparisons(code: str) -> None:
    assert list(comparisons_with_a_backend(ast.walk(ast.parse(code))))


def test_nothing_above_the_backends_compares_their_names() -> None:
    found = [
        f"{relative(path)}:{line}"
        for path in SOURCES
        if not relative(path).startswith("backends/")
        for line in comparisons_with_a_backend(nodes(path))
    ]
    assert found == []


#: The floors, from the highest: a module imports only from floors below its own. Names on one line
#: share a floor, and do not import each other.
FLOORS = [
    ["cli"],
    ["__init__"],
    ["testing"],
    ["_checks", "_factories", "encryption", "options", "utils"],
    ["interfaces"],
    ["browser", "bridges", "cloudfiles"],
    ["transfer"],
    ["arrays"],
    ["stores"],
    ["backends", "formats"],
    ["config"],
    ["core"],
    ["exceptions"],
    ["_version"],
]
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}
MODULES = {module_name(path): path for path in SOURCES}


_FOR_TYPES = ast.dump(ast.parse("TYPE_CHECKING", mode="eval").body)


@functools.cache
def imported_modules(path: Path) -> set[str]:
    """Return the package's modules that a module imports, in functions too, but not for types."""
    found = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.dump(child.test) == _FOR_TYPES:
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                names = {f"{child.module}.{alias.name}" for alias in child.names}
                modules = names & MODULES.keys()
                found.update(modules)
                if len(modules) < len(names):
                    found.add(child.module or "")
            else:
                visit(child)

    visit(tree(path))
    return (found & MODULES.keys()) - {module_name(path)}


def floor(module: str) -> str:
    """Return the first part of a module's name below the package."""
    return [*module.split("."), "__init__"][1]


def test_floors_look_down_only() -> None:
    found = []
    for name, path in MODULES.items():
        own = floor(name)
        for imported in imported_modules(path):
            other = floor(imported)
            if other != own and FLOOR_OF[other] <= FLOOR_OF[own]:
                found.append(f"{name} imports {imported}")
    assert found == []


def test_no_import_circles() -> None:
    remaining = {name: imported_modules(path) for name, path in MODULES.items()}
    while ready := [name for name, imports in remaining.items() if not imports & remaining.keys()]:
        for name in ready:
            del remaining[name]
    assert remaining == {}


def test_no_assert_no_bare_except_no_print() -> None:
    found = []
    for path in SOURCES:
        if floor(module_name(path)) == "testing":
            continue  # tests
        for node in nodes(path):
            if isinstance(node, ast.Assert):
                found.append(
                    f"{relative(path)}:{node.lineno}: assert on what a user gave vanishes under -O"
                )
            elif isinstance(node, ast.ExceptHandler) and node.type is None:
                found.append(f"{relative(path)}:{node.lineno}: bare except")
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("print", "input", "breakpoint")
                and (relative(path), node.func.id) not in TALKS
            ):
                found.append(f"{relative(path)}:{node.lineno}: {node.func.id}()")
    assert found == []


def test_no_property_is_computed_with_a_lock() -> None:
    """A forked child may find that of functools locked for ever."""
    found = [
        f"{relative(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(lines(path), 1)
        if re.search(r"functools.*\bcached_property\b", line)
        and "class cached_property(" not in line
    ]
    assert found == []


def test_broad_handlers_raise_again() -> None:
    found = [
        f"{relative(path)}:{node.lineno}"
        for path in SOURCES
        if floor(module_name(path)) != "testing"
        for node in nodes(path)
        if isinstance(node, ast.ExceptHandler)
        and isinstance(node.type, ast.Name)
        and node.type.id in ("Exception", "BaseException")
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
        and "# noqa: BLE001 - " not in lines(path)[node.lineno - 1]
    ]
    assert found == []


def test_modules_have_a_docstring() -> None:
    found = []
    for path in SOURCES:
        text = ast.get_docstring(tree(path)) or ""
        if not text.partition("\n")[0].endswith((".", ":")):
            found.append(f"{relative(path)}: a docstring that begins with a sentence")
    assert found == []


def test_modules_of_the_reference_have_all_and_others_do_not() -> None:
    """Users import from these; elsewhere, an underscore says what is private."""
    names, modules = documented()
    public = {*MODULES_OF_THE_REFERENCE, *modules}
    public |= {name.rpartition(".")[0] for name in names - BESIDE}
    found = []
    for name, path in MODULES.items():
        exported = [
            ast.literal_eval(node.value)
            for node in tree(path).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "__all__"
        ]
        # A package that passes names on marks them for the type checker.
        allowed = {1} if name in public else {0, 1} if path.name == "__init__.py" else {0}
        if len(exported) not in allowed:
            found.append(f"{relative(path)}: {len(exported)} times __all__")
        found += [
            f"{relative(path)}: {each} twice" for each in exported if len(each) > len({*each})
        ]
    assert found == []


def test_what_all_says_is_there() -> None:
    missing = []
    for path in SOURCES:
        module = importlib.import_module(module_name(path))
        missing += [
            f"{relative(path)}: {name}"
            for name in getattr(module, "__all__", [])
            if not hasattr(module, name)
        ]
    assert missing == []


def test_modules_stay_small() -> None:
    assert [relative(path) for path in SOURCES if len(lines(path)) > MAX_LINES] == []


def test_suppressions_give_a_code_and_a_reason() -> None:
    forms = {
        "# noqa": r"# noqa: [A-Z]+\d+(, [A-Z]+\d+)* - \S",
        "# type: ignore": r"# type: ignore\[[\w, -]+\]  # \S",
    }
    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(lines(path), start=1)
        for mark, form in forms.items()
        if mark in line and not re.search(form, line)
    ]
    assert found == []


def test_no_setting_is_frozen_at_import() -> None:
    """Only interfaces, when they are built, read the options."""
    found = []
    for path in SOURCES:
        for node in tree(path).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If):
                continue
            found += [
                (relative(path), inner.lineno)
                for inner in ast.walk(node)
                if isinstance(inner, ast.Call)
                and isinstance(inner.func, ast.Attribute)
                and ast.unparse(inner.func) in ("Settings.load", "options.get_config")
            ]
    assert found == []
