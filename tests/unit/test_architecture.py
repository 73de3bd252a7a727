"""The house as facts: no import circle, few entries at the top, one home for kinds, one caller of the model, no forgotten dependency."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "mtl_runner"
FILES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))


def name_of(path: Path, base: Path = ROOT) -> str:
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(path: Path) -> Iterator[tuple[str, str]]:
    """Modules, and names in them, that a file imports: at its top, in functions and for type checkers alike."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def graph(files: list[Path], base: Path) -> dict[str, set[str]]:
    """Which of the files import which others."""
    names = {name_of(path, base): path for path in files}
    edges: dict[str, set[str]] = {}
    for name, path in names.items():
        found = {
            f"{module}.{what}" if f"{module}.{what}" in names else module
            for module, what in imported_by(path)
        }
        edges[name] = (found & set(names)) - {name}
    return edges


def circle(edges: dict[str, set[str]]) -> list[str]:
    """One circle of the graph, or nothing."""
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        path.append(name)
        for following in sorted(edges.get(name, ())):
            if found := visit(following):
                return found
        done.add(path.pop())
        return []

    return next((found for name in sorted(edges) if (found := visit(name))), [])


def test_no_files_import_each_other_in_a_circle() -> None:
    """Breaks if a file cannot be read, or moved, without those that it serves."""
    assert circle(graph(FILES, ROOT)) == []
    for folder in {path.parent for path in SCRIPTS}:
        assert circle(graph(sorted(folder.glob("*.py")), folder)) == []


def test_a_circle_is_found() -> None:
    """Breaks if the test above cannot fail."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]


def test_the_top_of_the_package_is_a_table_of_rooms() -> None:
    """Breaks if loose modules gather at the top again."""
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 25, entries


def test_kinds_of_tasks_are_told_apart_in_their_home_only() -> None:
    """Breaks if a kind of a user's own is forgotten by a branch somewhere else."""
    branch = re.compile(
        r"\b(task|t|spec)\.(kind|spec)(\.name)?\s*(==|!=|in\b|not in\b)|\b(task|t)\.kind\.\w+\(|isinstance\([^)]*\.spec\b"
    )
    for path in FILES:
        if "tasks" not in path.parts:
            assert not [line for line in path.read_text().splitlines() if branch.search(line)], path


def test_the_model_is_called_in_one_place() -> None:
    """Breaks if precision, micro-batches or ranks have to be added where somebody calls the model by himself."""
    called = re.compile(r"\bmodel\((?!\))|\.model\((?!\))")
    wrappers = {"predicts_noise.py", "unshared.py"}  # they are models
    for path in FILES:
        if path.name not in wrappers | {"forward.py"} and "config" not in path.parts:
            code = "\n".join(
                line
                for line in path.read_text().splitlines()
                if not re.match(r"\s*(def|#|\"\"\")", line)
            )
            assert not [
                m for m in called.finditer(code) if not code[: m.start()].endswith(("_", "."))
            ], path


PACKAGES = {
    "sklearn": "scikit-learn",
    "hydra": "hydra-core",
    "yaml": "omegaconf",
    "torchjd": "torchjd",
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
    """Breaks if a new version of torch, Hydra, OmegaConf or TorchJD breaks code that nobody thought of."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
        ):
            owner = node.value
            own = isinstance(owner, ast.Name) and owner.id in ("self", "cls")
            assert own, f"{path}:{node.lineno}: {ast.unparse(node)}"
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
