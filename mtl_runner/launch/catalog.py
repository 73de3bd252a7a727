"""The catalog of options: what every file of a config group is for, from that file itself.

An option says what it is in the comment at the top of its file, which is the one place for it::

    # mtl-run weighting=famo
    # does: equal relative progress of all tasks, from losses alone
    # cost: one more forward pass per step
    # source: Liu et al., FAMO, NeurIPS 2023, https://arxiv.org/abs/2306.03792
    # when: Gives the balance of a Jacobian method without T backward passes. ...
    _target_: mtl_runner.weighting.FAMO
    lr: 0.025            # for the logits only; null: the optimizer's

``mtl-run --list``, ``mtl-run --explain`` and the method cards of the site are made of this. Files
are read as text: nothing that an option names is imported.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.launch.docstrings import docstring_of

AXES = ("likelihood", "weighting", "schedule", "update")
FIELDS = (
    "does",
    "rule",
    "cost",
    "source",
    "when",
    "options",
    "needs",
    "tasks",
    "takes",
    "class",
)
NO_OPTIONS = ("hydra/help",)  # a group of Hydra's that nobody chooses from
MEASURED = "methods.csv"


@dataclass(frozen=True)
class Setting:
    """A key of an option's file that a user may set.

    Attributes:
        key: As typed on the command line: ``weighting.lr``.
        default: Its value in the file, as text.
        meaning: The comment beside it.
    """

    key: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Measurement:
    """The measured cost of a step on the digits, from ``docs/tables/methods.csv``.

    Attributes:
        milliseconds: CPU time of a step.
        to_plain_sum: That over the time of a hand-written step of the plain sum.
        to_torchjd: That over the time of TorchJD called by hand; None where TorchJD has no such
            method.
        command: The command that measured it.
    """

    milliseconds: float
    to_plain_sum: float
    to_torchjd: float | None
    command: str

    def __str__(self) -> str:
        """Return a sentence without its end."""
        return (
            f"{self.milliseconds:.2f} ms per step on digits, {self.to_plain_sum:.2f} times "
            "a plain sum of the losses by hand"
        )


@dataclass(frozen=True)
class Option:
    """One option of a config group.

    Attributes:
        group: The config group: ``weighting``.
        name: The name of the file, without its suffix: ``famo``.
        path: The file.
        command: The command that uses it, from the top of the file; empty if the file has none.
        fields: The fields of the header by name (``does``, ``cost``, ...), in their order.
        note: Lines of the header that belong to no field.
        settings: The keys that it sets, with those of the options that it builds on.
        chosen: What it chooses in other groups, and ``share: false``: ``{"update": "jacobian"}``.
        bases: The options of its own group that it changes: ``("uncertainty",)``.
        target: The import path of the class that describes it: the one that its header names, its
            own, or that of the axis it sets; None if it has none.
        is_shipped: Whether it comes with mtl-runner.
    """

    group: str
    name: str
    path: Path
    command: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    note: str = ""
    settings: tuple[Setting, ...] = ()
    chosen: dict[str, str] = field(default_factory=dict)
    bases: tuple[str, ...] = ()
    target: str | None = None
    is_shipped: bool = True

    @property
    def does(self) -> str:
        """The line that says what it does: from its file, or the first one of its docstring."""
        if "does" in self.fields or not self.docstring:
            return self.fields.get("does", "")
        return self.docstring.splitlines()[0].rstrip(".")

    @property
    def axis(self) -> str:
        """The axis that it sets: for a preset of ``weighting`` often another one."""
        if self.group not in AXES:
            return self.group
        chosen_axis = next((axis for axis in AXES if axis in self.chosen), None)
        return chosen_axis or ("model" if "share" in self.chosen else self.group)

    @cached_property
    def docstring(self) -> str | None:
        """The docstring of its class, read from the source file."""
        return docstring_of(self.target) if self.target else None


class Catalog:
    """The options of all config groups, ours and the user's.

    Args:
        folders: Folders like ``conf``, ours first: an option of ours hides a user's of the same
            name, as it does in a run.

    Example:
        >>> catalog = Catalog([conf_directory()])
        >>> catalog.option("weighting", "famo").fields["cost"]
        'one more forward pass per step'
        >>> catalog.option("weighting", "upgrad").axis
        'update'
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(dict.fromkeys(folder.resolve() for folder in folders))

    @classmethod
    def of_command(cls, config_dir: str | None = None) -> Catalog:
        """Return the catalog that a command sees.

        Args:
            config_dir: The folder given by ``--config-dir``.

        Raises:
            ConfigError: If there is no such folder.
        """
        added = [] if config_dir is None else [Path(config_dir)]
        for folder in added:
            if not folder.is_dir():
                raise ConfigError(f"--config-dir={config_dir}: there is no such folder.")
        user = Path.cwd() / "conf"
        return cls([conf_directory(), *added, *([user] if user.is_dir() else [])])

    def groups(self) -> list[str]:
        """Return the names of the groups, in alphabetical order."""
        names = {
            path.parent.relative_to(folder).as_posix()
            for folder in self.folders
            for path in folder.rglob("*.yaml")
        }
        return sorted(names - {".", *NO_OPTIONS})

    def options(self, group: str) -> list[Option]:
        """Return the options of a group, in alphabetical order.

        Raises:
            ConfigError: If there is no such group.
        """
        if group not in self.groups():
            raise ConfigError(f"There is no group {group!r}; {suggest(group, self.groups())}.")
        names = {path.stem for folder in self.folders for path in (folder / group).glob("*.yaml")}
        return [self.option(group, name) for name in sorted(names)]

    def option(self, group: str, name: str) -> Option:
        """Return one option.

        Raises:
            ConfigError: If there is no such group, or no such option in it.
        """
        path = self._path(group, name)
        if path is None:
            names = [option.name for option in self.options(group)]
            raise ConfigError(f"{group}={name} does not exist; {suggest(name, names)}.")
        return self._read(group, name, path)

    def question(self, group: str) -> str:
        """Return what a group decides: the comment beside it in ``conf/config.yaml``."""
        return self._defaults_list.get(group, ("", ""))[1]

    def default(self, group: str) -> str:
        """Return the option of a group that a run has if none is chosen; empty if none."""
        name = self._defaults_list.get(group, ("", ""))[0]
        return "" if name == "null" else name

    @cached_property
    def measurements(self) -> dict[str, Measurement]:
        """The measured cost of every ``weighting=``; empty if the table is missing."""
        path = table_path(MEASURED)
        if path is None:
            return {}
        table = read_table(path)
        return {
            row["weighting"]: Measurement(
                float(row["ms/step"]),
                float(row["to the plain sum"]),
                float(row["to TorchJD by hand"]) if row["to TorchJD by hand"] else None,
                table.command,
            )
            for row in table.rows
        }

    def measurement(self, option: Option) -> Measurement | None:
        """Return what a step with an option costs; None where it was not measured."""
        measured = option.group == "weighting" and option.is_shipped
        return self.measurements.get(option.name) if measured else None

    @cached_property
    def _defaults_list(self) -> dict[str, tuple[str, str]]:
        lines = (self.folders[0] / "config.yaml").read_text(encoding="utf-8").splitlines()
        entries = (re.match(r"  - (\w+): (\w+)(?:\s+#\s*(.*))?$", line) for line in lines)
        return {entry[1]: (entry[2], entry[3] or "") for entry in entries if entry}

    def _path(self, group: str, name: str) -> Path | None:
        candidates = (folder / group / f"{name}.yaml" for folder in self.folders)
        return next((path for path in candidates if path.is_file()), None)

    def _read(self, group: str, name: str, path: Path) -> Option:
        lines = path.read_text(encoding="utf-8").splitlines()
        package = group.replace("/", ".")
        if lines and lines[0].startswith("# @package"):
            package = lines.pop(0).split()[-1]
            package = "" if package == "_global_" else package.replace("_group_", group)
        count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        command, fields, note = read_header(lines[:count])
        body = list(read_settings(lines[count:], package))
        bases, chosen = read_defaults(lines[count:], group)
        settings = {setting.key: setting for setting in self._inherited(group, bases, chosen)}
        target = fields.get("class")
        for setting in body:
            if setting.key.endswith("_target_"):
                target = target or (setting.default if setting.key.count(".") <= 1 else None)
            elif setting.key.rpartition(".")[2].startswith("_"):
                # Hydra's own.
                continue
            elif setting.key == "share":
                chosen["share"] = setting.default
            else:
                inherited = settings.get(setting.key)
                meaning = setting.meaning or (inherited.meaning if inherited else "")
                settings[setting.key] = Setting(setting.key, setting.default, meaning)
        if target is None:
            target = self._inherited_target(group, bases, chosen)
        is_shipped = path.is_relative_to(self.folders[0])
        return Option(
            group,
            name,
            path,
            command,
            fields,
            note,
            tuple(settings.values()),
            chosen,
            tuple(base for base in bases if "@" not in base),
            target,
            is_shipped,
        )

    def _inherited(
        self, group: str, bases: Sequence[str], chosen: dict[str, str]
    ) -> Iterator[Setting]:
        """Yield the settings of the options that one builds on, where they belong to its axis."""
        if group not in AXES:
            return
        builds_on = [(group, *base.partition("@")[::2]) for base in bases]
        builds_on += [(axis, name, "") for axis, name in chosen.items() if axis in AXES]
        for other_group, name, package in builds_on:
            if (path := self._path(other_group, name)) is not None:
                settings = self._read(other_group, name, path).settings
                if package in ("", group):
                    yield from settings
                else:
                    # Inside an option, as weighting.of.
                    below = len(group) + 1
                    for setting in settings:
                        key = f"{group}.{package}.{setting.key[below:]}"
                        yield Setting(key, setting.default, setting.meaning)

    def _inherited_target(
        self, group: str, bases: Sequence[str], chosen: dict[str, str]
    ) -> str | None:
        """Return the class of the axis that a preset sets, or of the option that it changes."""
        candidates = [(axis, chosen[axis]) for axis in AXES if axis in chosen and group in AXES]
        candidates += [(group, base) for base in bases if "@" not in base and group in AXES]
        for other_group, name in candidates:
            if (path := self._path(other_group, name)) is not None:
                return self._read(other_group, name, path).target
        return None


def read_header(lines: Sequence[str]) -> tuple[str, dict[str, str], str]:
    """Return command, fields and note of the comment at the top of an option's file.

    Args:
        lines: The lines of the comment, each with its ``#``; a line that is indented by two spaces
            or more goes on with the field above.

    Example:
        >>> read_header(["# mtl-run model=mlp", "# does: a trunk and", "#   heads", "# Small."])
        ('mtl-run model=mlp', {'does': 'a trunk and heads'}, 'Small.')
    """
    command = ""
    fields: dict[str, str] = {}
    notes: list[str] = []
    name = None
    for line in lines:
        text = line[1:].removeprefix(" ")
        entry = re.match(rf"({'|'.join(FIELDS)}): (.*)", text)
        if text.startswith("mtl-run") and not command and not fields:
            command = text.strip()
        elif entry:
            name = entry[1]
            fields[name] = entry[2].strip()
        elif name is not None and text.startswith("  "):
            fields[name] += f" {text.strip()}"
        elif text.strip():
            name = None
            notes.append(text.strip())
    return command, fields, " ".join(notes)


def read_settings(lines: Sequence[str], package: str) -> Iterator[Setting]:
    """Yield the keys of a config file with their values and comments, as text.

    Args:
        lines: The file, with or without its header.
        package: Where its keys belong in the whole config: ``weighting``, or empty for the root.

    Example:
        >>> list(read_settings(["lr: 0.1   # step size"], "weighting"))
        [Setting(key='weighting.lr', default='0.1', meaning='step size')]
    """
    sections: list[tuple[int, str]] = [(-1, package)]
    for line in lines:
        entry = re.match(r"^( *)([\w.]+):(?:\s+((?!#).*?))?(?:\s+#\s*(.*))?$", line)
        if entry is None:
            continue
        indent = len(entry[1])
        while indent <= sections[-1][0]:
            sections.pop()
        parent = sections[-1][1]
        key = f"{parent}.{entry[2]}" if parent else entry[2]
        if not entry[3]:
            sections.append((indent, key))
        elif not key.startswith("defaults."):
            yield Setting(key, entry[3], entry[4] or "")


def read_defaults(lines: Sequence[str], group: str) -> tuple[list[str], dict[str, str]]:
    """Return the options of the same group that a config file builds on, and its choices in others.

    Example:
        >>> lines = ["defaults:", "  - fixed@weighting", "  - override /update: per_task"]
        >>> read_defaults(lines, "weighting")
        (['fixed@weighting'], {'update': 'per_task'})
        >>> read_defaults(["defaults:", "  - trunk: mlp"], "model")
        ([], {'model/trunk': 'mlp'})
        >>> read_defaults(["defaults:", "  - /weighting@of: famo"], "weighting")
        (['famo@of'], {})
    """
    bases: list[str] = []
    chosen: dict[str, str] = {}
    inside = False
    for line in lines:
        if re.match(r"\S", line):
            inside = line.startswith("defaults:")
        elif inside and (entry := re.match(r"\s+- ([^#]+?)\s*(?:#.*)?$", line)):
            name, _, option = entry[1].removeprefix("override ").partition(": ")
            base_group, _, package = name.strip().removeprefix("/").partition("@")
            if option and base_group == group and package:
                # Another option of this group, inside this one.
                bases.append(f"{option.strip()}@{package}")
            elif option:
                # A group without a slash lies in this one: model/trunk for a file of model.
                group_name = name.strip() if "/" in name else f"{group}/{name.strip()}"
                chosen[group_name.removeprefix("/").partition("@")[0]] = option.strip()
            elif name != "_self_":
                bases.append(name.removeprefix(f"/{group}/"))
    return bases, chosen


@dataclass(frozen=True)
class MeasuredTable:
    """A table of measurements: a CSV file whose first line is the command that makes it.

    Attributes:
        command: That command.
        columns: The names of the columns.
        rows: One dictionary per row, all values as text.
    """

    command: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]


def read_table(path: Path) -> MeasuredTable:
    """Read a table of measurements."""
    first, _, text = path.read_text(encoding="utf-8").partition("\n")
    reader = csv.DictReader(text.splitlines())
    rows = tuple(dict(row) for row in reader)
    return MeasuredTable(first.removeprefix("#").strip(), tuple(reader.fieldnames or ()), rows)


def table_path(name: str) -> Path | None:
    """Return where a table of measurements is: in the wheel, or in ``docs`` of a checkout."""
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "tables" / name, package.parent / "docs" / "tables" / name)
    return next((path for path in candidates if path.is_file()), None)
