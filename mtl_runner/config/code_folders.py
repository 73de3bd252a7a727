"""Where a user's own modules lie: recorded with a model, and searched only if they are trusted."""

from __future__ import annotations

import importlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def folders_of_code(tree: Any) -> dict[str, str]:
    """Return the folders of the modules that a config tree names and that nobody has installed.

    Args:
        tree: A config tree, of which the targets have been imported.

    Returns:
        The folder of each top-level package or module, by its name.

    Example:
        >>> folders_of_code({"_target_": "torch.nn.ReLU"})
        {}
    """
    folders = {}
    for target in _targets(tree):
        package = target.partition(".")[0]
        folder = _folder_of(package)
        if folder is not None:
            folders[package] = folder
    return folders


def search_recorded_folder(package: str, folders: Mapping[Any, Any]) -> str | None:
    """Search the folder in which a module lay when its run trained, if Python finds it nowhere.

    A line on the error output names the folder.

    Args:
        package: A top-level package or module that is trusted.
        folders: The recorded folders, as :func:`folders_of_code` returned them.

    Returns:
        The folder, where it no longer holds the module; else None.

    Example:
        >>> search_recorded_folder("json", {"json": "/somewhere"})
    """
    recorded = folders.get(package)
    if not isinstance(recorded, str) or package in sys.modules or _is_importable(package):
        return None
    folder = Path(recorded)
    is_there = (folder / f"{package}.py").is_file() or (folder / package).is_dir()
    if not folder.is_absolute() or not is_there:
        return recorded
    # At the end, so that nothing there takes the place of another module.
    sys.path.append(recorded)
    importlib.invalidate_caches()
    print(f"{package} is taken from {recorded!r}, where its run found it.", file=sys.stderr)
    return None


def _targets(tree: Any) -> Iterator[str]:
    if isinstance(tree, Mapping):
        target = tree.get("_target_")
        if isinstance(target, str):
            yield target
    if isinstance(tree, Mapping | list | tuple):
        for value in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _targets(value)


def _folder_of(package: str) -> str | None:
    """Return where an imported module lies; None if it was installed, or lies in no folder."""
    module = sys.modules.get(package)
    if module is None or package in sys.stdlib_module_names or package == "mtl_runner":
        return None
    file = getattr(module, "__file__", None)
    paths = list(getattr(module, "__path__", []))
    if not file and not paths:
        return None
    folder = Path(paths[0]).absolute().parent if paths else Path(file or "").absolute().parent
    installed = {Path(path).resolve() for path in sysconfig.get_paths().values()}
    is_installed = folder.resolve() in installed or {"site-packages", "dist-packages"} & {
        *folder.parts
    }
    return None if is_installed else str(folder)


def _is_importable(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False
