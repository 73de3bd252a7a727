"""Which code may a file name that somebody else has written?

A run saves its model as a config tree, whose nodes name classes and functions by import path
(``_target_``). To make an object of a node is to run the code that it names, and so is to import
it. So every target of a tree is checked before anything is imported.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from torch import Tensor

from mtl_runner.config.code_folders import search_recorded_folder
from mtl_runner.config.instantiate import import_path, import_target
from mtl_runner.errors import ConfigError, RunDirectoryError

# Larger trees are refused: lists that hold each other would take for ever to walk through.
MOST_LEVELS, MOST_VALUES = 50, 100_000
# A trusted top-level package would be too much to advise for these; a single target is not.
LARGE_PACKAGES = sys.stdlib_module_names | {"mtl_runner", "numpy", "pandas", "scipy", "torch"}


def named_classes(module: ModuleType, base: type) -> set[str]:
    """Return the import paths of the classes that a module offers.

    Args:
        module: The module; if it has ``__all__``, it offers what is listed there.
        base: Only its subclasses count.

    Returns:
        Two paths per class: the one through the module, and the one where the class is defined.

    Example:
        >>> import torch
        >>> classes = named_classes(torch.nn, torch.nn.Module)
        >>> {"torch.nn.ReLU", "torch.nn.modules.activation.ReLU"} <= classes
        True
        >>> "torch.nn.Parameter" in classes, "torch.nn.modules.module.torch.load" in classes
        (False, False)
    """
    names = getattr(module, "__all__", None) or list(vars(module))
    members = {name: getattr(module, name) for name in names}
    classes = {
        name: member
        for name, member in members.items()
        if inspect.isclass(member) and issubclass(member, base)
    }
    return {f"{module.__name__}.{name}" for name in classes} | set(
        map(import_path, classes.values())
    )


def checked_trees(
    trees: Mapping[str, Any],
    allowed: Collection[str],
    trust: Sequence[str],
    file: Path,
    folders: Mapping[Any, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return copies of config trees, after all of their targets were found to be allowed.

    First the paths are compared with what is allowed, at every depth, without an import. Then the
    trusted ones are imported: a path such as ``my_package.os.system`` begins like a trusted package
    and leads out of it, so the object that was found must be defined in a trusted place, too.

    Args:
        trees: The trees, by the keys that errors call them.
        allowed: Import paths of classes, all of them imported already.
        trust: Packages, modules, or single classes and functions, whose code may run as well.
        file: The file that the trees come from, for the errors.
        folders: Where modules lay, by their names: searched for those that are trusted and found
            nowhere else.

    Returns:
        The trees as plain dicts and lists, without interpolations.

    Raises:
        ConfigError: If ``trust`` is no list of import paths, or a trusted target is not found.
        RunDirectoryError: If a target is not allowed, or a tree holds something else than plain
            values.

    Example:
        >>> node = {"_target_": "torch.nn.ReLU", "inplace": True}
        >>> file = Path("run/best.pt")
        >>> checked_trees({"model": node}, {"torch.nn.ReLU"}, [], file)["model"] == node
        True
        >>> node = {"layers": [{"_target_": "my_package.Layer"}]}
        >>> checked_trees({"model": node}, {"torch.nn.ReLU"}, [], file)
        Traceback (most recent call last):
        mtl_runner.errors.RunDirectoryError: 'run/best.pt' names code that is neither
        mtl-runner's nor a layer of torch.nn (model.layers.0._target_='my_package.Layer');
        only if you trust it, type mtl_runner.load('run', trust=['my_package']), or in a terminal
        --trust my_package.
    """
    trust = _checked_trust(trust)
    reader = _TreeReader(file)
    copies = {key: reader.copy(tree, key) for key, tree in trees.items()}
    foreign = {key: path for key, path in reader.targets.items() if path not in allowed}
    refused = {key: path for key, path in foreign.items() if not _is_under(path, trust)}
    if refused:
        raise RunDirectoryError(_refusal(refused, trust, file, folders))
    led_out = {}
    for key, path in foreign.items():
        target = _import_trusted(path, key, folders)
        defined_at = import_path(target)
        if path not in trust and defined_at not in allowed and not _is_under(defined_at, trust):
            led_out[key] = path
    if led_out:
        raise RunDirectoryError(_refusal(led_out, trust, file, {}, exact=True))
    return copies


class _TreeReader:
    """Copies config trees to plain dicts and lists, and notes the targets on its way.

    Args:
        file: The file that the trees come from, for the errors.

    Attributes:
        targets: The import paths that were met, by the keys of their nodes.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.targets: dict[str, str] = {}
        self._values = 0

    def copy(self, value: Any, key: str, level: int = 0) -> Any:
        """Return a copy of a tree.

        Args:
            value: The tree.
            key: Its key, for the errors.
            level: How many dicts and lists lie around it.

        Raises:
            RunDirectoryError: If the tree is too large, or holds something else than plain values.
        """
        self._values += 1
        if level > MOST_LEVELS or self._values > MOST_VALUES:
            raise self._error(
                f"{_short(key)} holds more than {MOST_LEVELS} levels or {MOST_VALUES:,} values"
            )
        if isinstance(value, dict):
            if "_target_" in value:
                self._note_target(value["_target_"], key)
            for name in value:
                if type(name) not in (str, int, float, bool):
                    raise self._error(f"a key of {_short(key)} is a {type(name).__name__}")
            return {name: self.copy(v, f"{key}.{name}", level + 1) for name, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.copy(entry, f"{key}.{i}", level + 1) for i, entry in enumerate(value)]
        # A resolver may make a node with a target of such a text, or read an environment variable.
        if isinstance(value, str) and "${" in value:
            raise self._error(f"{_short(key)} holds an interpolation, {_short(repr(value))}")
        if value is None or isinstance(value, Tensor) or type(value) in (str, int, float, bool):
            return value
        raise self._error(f"{_short(key)} is a {type(value).__name__}")

    def _note_target(self, target: Any, key: str) -> None:
        if type(target) is not str:
            raise self._error(f"{_short(key)}._target_ is a {type(target).__name__}")
        if not _is_import_path(target):
            raise self._error(f"{_short(key)}._target_={_short(repr(target))} is no import path")
        self.targets[f"{key}._target_"] = target

    def _error(self, problem: str) -> RunDirectoryError:
        return RunDirectoryError(
            f"{str(self.file)!r} is not as mtl-run writes it: {problem}; load the run's own best.pt."
        )


def _checked_trust(trust: Any) -> tuple[str, ...]:
    """Return the entries of ``trust``, or raise ``ConfigError`` if they are no import paths."""
    entries: tuple[Any, ...] = tuple(trust) if isinstance(trust, list | tuple | set) else (None,)
    for entry in entries:
        if not isinstance(entry, str) or not _is_import_path(entry):
            raise ConfigError(
                f"trust must be a list of packages or modules, e.g. ['my_package']; found {trust!r}."
            )
    return entries


def _is_import_path(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _is_under(path: str, trust: Sequence[str]) -> bool:
    """Return whether a path is trusted or lies in what is: "mymodule" does not lie in "my"."""
    return any(path == entry or path.startswith(f"{entry}.") for entry in trust)


def _import_trusted(path: str, key: str, folders: Mapping[Any, Any]) -> Any:
    package = path.split(".")[0]
    moved_from = search_recorded_folder(package, folders)
    try:
        return import_target(path, key)
    except ConfigError as error:
        if package in sys.modules:
            raise
        why = (
            f"{moved_from!r}, where its run found it, does not hold it any more"
            if moved_from
            else "its run did not record where it lay"
        )
        raise ConfigError(
            f"{str(error).rstrip('.')}; put the folder that holds {package} on PYTHONPATH: {why}."
        ) from error


def _refusal(
    refused: Mapping[str, str],
    trust: Sequence[str],
    file: Path,
    folders: Mapping[Any, Any],
    exact: bool = False,
) -> str:
    """Return the sentence about targets that are not allowed, with what to type.

    Args:
        refused: Their paths, by the keys of their nodes.
        trust: What is trusted already.
        file: The file that names them.
        folders: Where modules lay, by their names.
        exact: Whether to advise the whole paths instead of packages.
    """
    named = [f"{_short(key)}={_short(repr(path))}" for key, path in refused.items()]
    advised = list(dict.fromkeys([*trust, *(_advised(path, exact) for path in refused.values())]))
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    places = dict.fromkeys(
        f"; {package} lies in {_short(repr(folders[package]))}"
        for package in (path.split(".")[0] for path in refused.values())
        if isinstance(folders.get(package), str)
    )
    options = " ".join(f"--trust {entry}" for entry in advised)
    return (
        f"{str(file)!r} names code that is neither mtl-runner's nor a layer of torch.nn ({', '.join(named[:3])}{more}{''.join(places)}); "
        f"only if you trust it, type mtl_runner.load({str(file.parent)!r}, trust={_short(repr(advised), most=400)}), or in a terminal {_short(options, most=400)}."
    )


def _advised(path: str, exact: bool) -> str:
    package = path.split(".")[0]
    return path if exact or package in LARGE_PACKAGES else package


def _short(text: str, most: int = 120) -> str:
    """Return a text from a file as far as it fits into a sentence.

    Args:
        text: The text.
        most: The greatest length.

    Example:
        >>> _short("my_package.module.Net", most=10)
        'my_pack...'
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."
