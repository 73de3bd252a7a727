"""Docstrings without imports: where a class is defined, and its docstring as plain text.

A class is looked up as an import would do it, but its file is only read: no code of the user's
runs, and torch stays unloaded.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from mtl_runner.launch.plain_formula import plain_formula

MOST_REEXPORTS = 10  # names that are imported from a module that imports them from another one
SECTIONS = re.compile(
    r"(Args|Arguments|Attributes|Returns|Yields|Raises|Example|Examples|Note|Notes|Shape|Where|"
    r"References|Warning|See Also):$"
)
ITEM = re.compile(r"(\*{0,2}\w[\w.]*( \([^)]*\))?:|[-*•]|\d+\.) +\S")


def docstring_of(target: str) -> str | None:
    """Return the docstring of a class or function.

    Args:
        target: Its import path, as a config's ``_target_`` has it: ``"my_module.MyClass"``.

    Returns:
        The docstring without its indentation; None if there is none, or no source file.

    Example:
        >>> docstring_of("textwrap.dedent").splitlines()[0]
        'Remove any common leading whitespace from every line in `text`.'
    """
    parts = target.split(".")
    try:
        spec = find_spec(parts[0])
    except (ImportError, ValueError):
        return None
    depth = 1
    while (
        depth < len(parts)
        and spec is not None
        and (module := _submodule(spec, parts[depth])) is not None
    ):
        spec, depth = module, depth + 1
    if spec is None or depth != len(parts) - 1:
        return None
    node = _definition(spec, parts[depth])
    text = ast.get_docstring(node) if node is not None else None
    return text or None


def _submodule(package: ModuleSpec, name: str) -> ModuleSpec | None:
    """Return the spec of a module of a package, without importing the package."""
    if package.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(f"{package.name}.{name}", list(package.submodule_search_locations))


def _definition(
    module: ModuleSpec, name: str, depth: int = 0
) -> ast.ClassDef | ast.FunctionDef | None:
    """Return the definition of a name in a module, or in the module that it is imported from."""
    if not module.origin or not module.origin.endswith(".py") or depth > MOST_REEXPORTS:
        return None
    try:
        tree = ast.parse(Path(module.origin).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    source = _imported_from(module, node)
                    return _definition(source, alias.name, depth + 1) if source else None
    return None


def _imported_from(module: ModuleSpec, node: ast.ImportFrom) -> ModuleSpec | None:
    """Return the spec of the module that a ``from ... import`` in another module names."""
    package = module.name if module.submodule_search_locations else module.parent or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    parts = [*base, *(node.module.split(".") if node.module else [])]
    try:
        spec = find_spec(parts[0])
    except (ImportError, ValueError):
        return None
    for part in parts[1:]:
        spec = _submodule(spec, part) if spec is not None else None
    return spec


def plain_docstring(docstring: str, width: int = 88) -> str:
    r"""Return a docstring as plain text: legible formulas, no markup, filled paragraphs.

    Args:
        docstring: In Google style, with reStructuredText's roles and ``.. math::`` blocks.
        width: Most characters in a line; examples and formulas keep their own lines.

    Example:
        >>> print(plain_docstring("See :class:`~a.B`.\n\n.. math:: \\sum_t w_t L_t"))
        See B.
        <BLANKLINE>
            Σₜ wₜ Lₜ
    """
    lines = _without_roles(_with_plain_math(inspect.cleandoc(docstring))).splitlines()
    paragraphs: list[str] = []
    current: list[str] = []
    hanging = 0
    verbatim = False

    def finish() -> None:
        if current:
            indent = " " * _indent(current[0])
            paragraphs.append(
                textwrap.fill(
                    " ".join(line.strip() for line in current),
                    width,
                    initial_indent=indent,
                    subsequent_indent=indent + " " * hanging,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
            current.clear()

    for line in lines:
        stripped = line.strip()
        if not stripped:
            finish()
            paragraphs.append("")
            hanging, verbatim = 0, False
        elif verbatim or stripped.startswith((">>>", "\x00")):
            finish()
            paragraphs.append(line.replace("\x00", ""))
            verbatim = verbatim or not stripped.startswith("\x00")
        elif SECTIONS.fullmatch(stripped):
            finish()
            paragraphs.append(line)
            hanging = 0
        elif current and _indent(line) > _indent(current[0]) and hanging:
            current.append(line)
        elif ITEM.match(stripped) and (not current or _indent(line) <= _indent(current[0])):
            finish()
            current.append(line)
            hanging = 4 if stripped[0] not in "-*•" and not stripped[0].isdigit() else 2
        else:
            if current and (hanging or _indent(line) != _indent(current[0])):
                finish()
            hanging = 0
            current.append(line)
    finish()
    text = "\n".join(paragraphs)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _with_plain_math(text: str) -> str:
    """Replace ``.. math::`` blocks by lines that begin with a NUL, which are kept as they are."""

    def plain(block: re.Match[str]) -> str:
        lines = plain_formula(textwrap.dedent(f"{block[2]}\n{block[3]}")).splitlines()
        return "".join(f"{block[1]}    \x00{line}\n" for line in lines)

    return re.sub(
        r"^([ \t]*)\.\. math::[ \t]*(.*)\n((?:\1[ \t]+\S.*\n?|[ \t]*\n(?=\1[ \t]+\S))*)",
        plain,
        text + "\n",
        flags=re.MULTILINE,
    )


def _without_roles(text: str) -> str:
    """Replace inline markup by what it stands for, but in examples."""
    parts = re.split(r"^([ \t]*>>>.*\n(?:.*\S.*\n?)*)", text, flags=re.MULTILINE)
    return "".join(part if i % 2 else _plain_markup(part) for i, part in enumerate(parts))


def _plain_markup(text: str) -> str:
    text = re.sub(r":math:`([^`]+)`", lambda math: plain_formula(math[1]), text)
    text = re.sub(
        r":\w+(?::\w+)?:`([^`]+)`", lambda role: _reference(" ".join(role[1].split())), text
    )
    text = re.sub(r"`([^`<>]+?)\s*<([^`<>]+)>`__?", r"\1 (\2)", text)
    text = re.sub(r"``([^`]+)``", r"\1", text)
    text = re.sub(r"^([ \t]*)\.\. (\w+)::[ \t]*", r"\1\2: ", text, flags=re.MULTILINE)
    return re.sub(r"(?<![\w*])\*{1,2}(\w[^*\n]*?)\*{1,2}(?![\w*])", r"\1", text)


def _reference(text: str) -> str:
    """Return what a cross reference shows: its title, or the name that it points at."""
    if title := re.fullmatch(r"(.+?)\s*<[^<>]+>", text):
        return title[1]
    return text[1:].rsplit(".", 1)[-1] if text.startswith("~") else text
