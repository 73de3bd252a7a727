"""Answers of ``mtl-run`` about its options: ``--list`` and ``--explain``, for a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from importlib.metadata import version

from mtl_runner.errors import ConfigError
from mtl_runner.launch.catalog import Catalog, Option
from mtl_runner.launch.docstrings import plain_docstring
from mtl_runner.version import __version__

LIST, EXPLAIN, VERSION = "--list", "--explain", "--version"
LIBRARIES = ("torch", "hydra-core")  # whose versions matter when somebody asks for help
CONFIG_DIR = ("--config-dir", "-cd")
NARROWEST, WIDEST = 60, 100
LABEL = 10  # characters for the name of a field


def is_question(arguments: Sequence[str]) -> bool:
    """Return whether the command asks something instead of running something."""
    return any(argument.partition("=")[0] in (LIST, EXPLAIN, VERSION) for argument in arguments)


def answer(arguments: Sequence[str]) -> str:
    """Return the answer to ``--list [group]``, ``--explain group=option`` or ``--version``.

    Args:
        arguments: What stands behind ``mtl-run``.

    Raises:
        ConfigError: If a group or an option does not exist, or another option stands beside the
            question.

    Example:
        >>> print(answer(["--list", "optimizer"]).splitlines()[0])
        adam   Adam: steps of about lr in every parameter, whatever the size of the loss
    """
    if list(arguments) == [VERSION]:
        return versions()
    question, subjects, config_dir = _parse(arguments)
    catalog = Catalog.of_command(config_dir)
    if question == EXPLAIN:
        return "\n\n".join(card(catalog, _named(catalog, subject)) for subject in subjects)
    return list_options(catalog, subjects[0]) if subjects else list_groups(catalog)


def versions() -> str:
    """Return the version of mtl-runner, and those of the libraries on which most depends.

    Example:
        >>> versions().split()[0]
        'mtl-runner'
    """
    libraries = [f"{name} {version(name)}" for name in LIBRARIES]
    return f"mtl-runner {__version__} ({', '.join(libraries)})"


def _parse(arguments: Sequence[str]) -> tuple[str, list[str], str | None]:
    """Return the question, what it is about, and the folder of ``--config-dir``."""
    question, config_dir = "", None
    subjects: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, _, value = argument.partition("=")
        if name in CONFIG_DIR:
            config_dir = value or next(waiting, "")
        elif name in (LIST, EXPLAIN):
            if question not in ("", name):
                raise ConfigError(f"Ask one question at a time: {LIST} or {EXPLAIN}.")
            question = name
            subjects += [value] if value else []
        elif argument.startswith("-"):
            raise ConfigError(f"{argument} cannot stand beside {LIST} or {EXPLAIN}.")
        else:
            subjects.append(argument)
    if question == LIST and (len(subjects) > 1 or any("=" in subject for subject in subjects)):
        raise ConfigError(
            f"{LIST} takes one group, e.g. mtl-run {LIST} weighting; found {' '.join(subjects)!r}."
        )
    if question == EXPLAIN and not subjects:
        raise ConfigError(f"{EXPLAIN} takes an option, e.g. mtl-run {EXPLAIN} weighting=famo.")
    return question, subjects, config_dir


def _named(catalog: Catalog, subject: str) -> Option:
    """Return the option that ``group=option`` names."""
    group, _, name = subject.lstrip("+").partition("=")
    if name:
        catalog.options(group)  # says which groups there are
        return catalog.option(group, name)
    if group in catalog.groups():
        example = catalog.options(group)[0].name
        raise ConfigError(
            f"{EXPLAIN} takes one option, e.g. {group}={example}; mtl-run {LIST} {group} names all."
        )
    homes = [
        home
        for home in catalog.groups()
        if group in [option.name for option in catalog.options(home)]
    ]
    hint = f"did you mean {' or '.join(f'{home}={group}' for home in homes)}?" if homes else ""
    raise ConfigError(
        f"{EXPLAIN} takes group=option, e.g. weighting=famo; found {subject!r}"
        f"{f'; {hint}' if hint else '.'}"
    )


def list_groups(catalog: Catalog) -> str:
    """Return a line per group: its name, its default option, and what it decides."""
    rows = [
        (group, catalog.default(group), catalog.question(group) or _first(catalog, group))
        for group in catalog.groups()
    ]
    table = _aligned([("group", "default", "what it decides"), *rows])
    return f"{table}\n\nmtl-run {LIST} weighting names the options of a group, mtl-run {EXPLAIN} weighting=famo explains one."


def _first(catalog: Catalog, group: str) -> str:
    """Return what the only options of a group do."""
    options = catalog.options(group)
    return "; ".join(f"{option.name}: {option.does}" for option in options[:2] if option.does)


def list_options(catalog: Catalog, group: str) -> str:
    """Return a line per option of a group: its name, what it does, its cost and its source.

    Raises:
        ConfigError: If there is no such group.
    """
    options = catalog.options(group)
    rows = [
        (
            option.name,
            option.does or (f"yours, {option.path}" if not option.is_shipped else ""),
            option.fields.get("cost", ""),
            short_source(option.fields.get("source", option.fields.get("tasks", ""))),
        )
        for option in options
    ]
    return _aligned(rows)


def short_source(source: str) -> str:
    """Return a source without its addresses.

    Example:
        >>> short_source("Liu et al., FAMO, NeurIPS 2023, https://arxiv.org/abs/2306.03792")
        'Liu et al., FAMO, NeurIPS 2023'
    """
    parts = (part.partition("http")[0].strip(" ,") for part in source.split("; "))
    return "; ".join(parts)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines with aligned columns; empty columns are left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in zip(*columns, strict=True)
    )
    return "\n".join(line.rstrip() for line in lines)


def card(catalog: Catalog, option: Option, width: int | None = None) -> str:
    """Return all there is to know about an option.

    Args:
        catalog: The catalog that it is from, for the measured cost.
        option: The option.
        width: Most characters in a line; None: those of the terminal, 60 to 100.
    """
    if width is None:
        width = min(WIDEST, max(NARROWEST, shutil.get_terminal_size((WIDEST, 24)).columns))
    fields = {name: text for name, text in option.fields.items() if name != "does"}
    if measurement := catalog.measurement(option):
        at = list(fields).index("cost") + 1 if "cost" in fields else 0
        entries = list(fields.items())
        entries.insert(at, ("measured", f"{measurement} ({measurement.command})"))
        fields = dict(entries)
    if option.chosen:
        fields["sets"] = ", ".join(f"{group}={name}" for group, name in option.chosen.items())
    if option.target:
        fields["class"] = option.target
    if not option.is_shipped:
        fields["file"] = str(option.path)
    if option.command:
        fields["example"] = option.command
    title = f"{option.group}={option.name}"
    parts = [
        _filled(f"{title}: {option.does}" if option.does else title, width),
        *([_filled(option.note, width)] if option.note else []),
        "\n".join(_field(name, text, width) for name, text in fields.items()),
    ]
    if option.docstring and option.target:
        parts.append(
            f"{option.target.rpartition('.')[2]}\n"
            + textwrap.indent(plain_docstring(option.docstring, width - 2), "  ")
        )
    if option.settings:
        parts.append("Options and their defaults\n" + _settings(option, width))
    return "\n\n".join(part for part in parts if part)


def _filled(text: str, width: int, initial: str = "", subsequent: str = "") -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=initial,
        subsequent_indent=subsequent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _field(name: str, text: str, width: int) -> str:
    if name == "example":  # to be copied: in one line
        return f"  {name:<{LABEL}}{text}"
    return _filled(text, width, f"  {name:<{LABEL}}", " " * (LABEL + 2))


def _settings(option: Option, width: int) -> str:
    """Return a line per key, with its default and, if there is room, its meaning beside it."""
    key_width = max(len(setting.key) for setting in option.settings)
    default_width = min(16, max(len(setting.default) for setting in option.settings))
    blocks = []
    for setting in option.settings:
        head = f"  {setting.key:<{key_width}}  {setting.default:<{default_width}}  "
        margin = " " * (key_width + default_width + 6)
        if len(head) > len(margin) or len(margin) > width // 2:
            meaning = _filled(setting.meaning, width, " " * 6, " " * 6) if setting.meaning else ""
            blocks.append("\n".join(filter(None, (head.rstrip(), meaning))))
        else:
            blocks.append(
                _filled(setting.meaning, width, head, margin) if setting.meaning else head.rstrip()
            )
    return "\n".join(blocks)
