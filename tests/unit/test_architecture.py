"""Rules of the package that no other tool checks: imports, names, prose, and a test per module."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.prose import dialect

PACKAGE = ROOT / "mtl_runner"
FILES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text())


def name_of(path: Path, base: Path = ROOT) -> str:
    """Return the dotted name of a module."""
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the modules, and names in them, that a file imports at its top or in functions."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def graph(files: list[Path], base: Path) -> dict[str, set[str]]:
    """Return, for each file, which of the others it imports."""
    names = {name_of(path, base): path for path in files}
    edges: dict[str, set[str]] = {}
    for name, path in names.items():
        imported = {
            f"{module}.{member}" if f"{module}.{member}" in names else module
            for module, member in imported_by(path)
        }
        edges[name] = (imported & set(names)) - {name}
    return edges


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Return one circle of the graph; empty if there is none."""
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        path.append(name)
        for imported in sorted(edges.get(name, ())):
            if names := visit(imported):
                return names
        done.add(path.pop())
        return []

    return next((names for name in sorted(edges) if (names := visit(name))), [])


def test_no_files_import_each_other_in_a_circle() -> None:
    """Breaks if a file cannot be understood, or moved, without the files that import it."""
    assert circle(graph(FILES, ROOT)) == []
    for folder in {path.parent for path in SCRIPTS}:
        assert circle(graph(sorted(folder.glob("*.py")), folder)) == []


def test_a_circle_would_be_reported() -> None:
    """Breaks if the test of circles cannot fail."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]


def test_the_top_of_the_package_is_a_table_of_rooms() -> None:
    """Breaks if modules gather at the top of the package."""
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 26, entries


def test_kinds_of_tasks_are_told_apart_in_their_home_only() -> None:
    """Breaks if a kind of a user's own is forgotten by a branch somewhere else."""
    branch = re.compile(
        r"\b(task|t|spec)\.(kind|spec)(\.name)?\s*(==|!=|in\b|not in\b)|\b(task|t)\.kind\.\w+\(|isinstance\([^)]*\.spec\b"
    )
    for path in FILES:
        if "tasks" not in path.parts:
            assert not [line for line in path.read_text().splitlines() if branch.search(line)], path


def calls_a_model(node: ast.AST) -> bool:
    """Return whether a node is a call such as ``model(inputs)`` or ``self.model(inputs)``."""
    if not isinstance(node, ast.Call) or not (node.args or node.keywords):
        return False
    function = node.func
    name = getattr(function, "id", "") or getattr(function, "attr", "")
    return name == "model"


def test_the_model_is_called_in_one_place() -> None:
    """Breaks if precision, micro-batches or ranks have to be added in several places."""
    # These are models that call the model inside them, and another library's loop.
    wrappers = {"embeddings.py", "predicts_noise.py", "unshared.py", "transformers.py"}
    callers = {path.name for path in FILES if any(map(calls_a_model, ast.walk(parsed(path))))}
    assert callers - wrappers == {"forward.py"}


# Derivatives that are none of losses with respect to parameters: of an objective with respect to T
# numbers; and a search for the parameters that a root reaches.
OTHER_DERIVATIVES = {
    "conform/interfaces.py",
    "runs/recorded_steps.py",
    "train/stack/stacked_step.py",
    "weighting/base.py",
}


def takes_a_gradient(node: ast.AST) -> bool:
    """Return whether a node is a call such as ``torch.autograd.grad(...)`` or ``x.backward()``."""
    return isinstance(node, ast.Call) and bool(
        re.search(r"\bautograd\.(grad|backward)$|\.backward$", ast.unparse(node.func))
    )


def test_gradients_are_taken_in_one_place() -> None:
    """Breaks if parts of a batch, scales or processes have to be added up in several places."""
    takers = {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        if any(map(takes_a_gradient, ast.walk(parsed(path))))
    }
    assert takers - OTHER_DERIVATIVES == {"gradients/door.py"}


PACKAGES = {
    "sklearn": "scikit-learn",
    "hydra": "hydra-core",
    "yaml": "omegaconf",
    "torchjd": "torchjd",
    "quadprog": "torchjd",  # one of its extras brings it
    "hydra_plugins": "hydra-core",
}


def test_every_package_that_is_imported_is_declared() -> None:
    """Breaks if the code needs something that an installation does not bring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    declared = {re.split(r"[\[<>=~! ]", line)[0].lower() for line in listed}
    for path in [*FILES, *SCRIPTS]:
        for module, _ in imported_by(path):
            top = module.split(".")[0]
            if (
                top in sys.stdlib_module_names
                or top == "mtl_runner"
                or (path.parent / f"{top}.py").exists()
            ):
                continue
            assert PACKAGES.get(top, top) in declared, f"{path}: {module}"


@pytest.mark.parametrize(
    "path", [p for p in FILES if "compat" not in p.parts], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_private_parts_of_others_are_touched_in_compat_only(path: Path) -> None:
    """Breaks if a new version of another package can break code outside compat/."""
    tree = parsed(path)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
        ):
            owner = node.value
            is_ours = isinstance(owner, ast.Name) and owner.id in ("self", "cls")
            assert is_ours, f"{path}:{node.lineno}: {ast.unparse(node)}"
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and not node.module.startswith("mtl_runner")
        ):
            names = [node.module, *(alias.name for alias in node.names)]
            assert not any(
                part.startswith("_")
                for name in names
                for part in name.split(".")
                if name != "__future__"
            ), node.module


# Names, prose and tests


def test_no_two_classes_have_one_name() -> None:
    """Breaks if a reader, or a recorded ``_target_``, may mean either of two classes."""
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {name: lines for name, lines in places.items() if len(lines) > 1} == {}


ROOMS = sorted({path.relative_to(PACKAGE).parts[0] for path in FILES})


@pytest.mark.parametrize("room", ROOMS)
def test_names_and_docstrings_are_plain_english(room: str) -> None:
    """Breaks if a newcomer has to learn a dialect; ``tests/support/prose.py`` holds the rules."""
    files = [path for path in FILES if path.relative_to(PACKAGE).parts[0] == room]
    assert [complaint for path in files for complaint in dialect(path)] == []


# Modules without a test file of their name, and why.
WITHOUT_A_TEST_FILE = {
    "tasks/fields.py": "a protocol without code",
    "tasks/protocols.py": "protocols without code",
}


def defines_something(path: Path) -> bool:
    """Return whether a module, other than the ``__init__`` of a package, has code of its own."""
    tree = parsed(path)
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return path.name != "__init__.py" and any(isinstance(node, definitions) for node in tree.body)


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_has_a_test_file_of_its_name(room: str) -> None:
    """Breaks if a reader of a module looks for its tests in vain."""
    missing = []
    for path in filter(defines_something, FILES):
        module = path.relative_to(PACKAGE)
        test = ROOT / "tests" / "unit" / module.parent / f"test_{module.name}"
        if module.parts[0] == room and not test.exists():
            missing.append(module.as_posix())
    excused = {module for module in WITHOUT_A_TEST_FILE if module.split("/")[0] == room}
    assert set(missing) == excused


def test_all_extras_of_the_commands_can_be_had_at_once() -> None:
    """Breaks if `pip install 'mtl-runner[all]'` leaves out what an option needs."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for_own_loops_and_developers = {"accelerate", "lightning", "docs", "test", "dev"}
    another_optuna = {"optuna-sweeper"}
    parts = {"torchjd", "all"}  # solvers bring TorchJD
    named = set(re.findall(r"[\w-]+", extras["all"][0].partition("[")[2]))
    assert named == set(extras) - for_own_loops_and_developers - another_optuna - parts
