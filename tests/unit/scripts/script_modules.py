"""The scripts as modules: they lie outside the package, so they are loaded by their path."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from tests.support.paths import SCRIPTS


def load_script(path: str) -> ModuleType:
    """Return a script as a module.

    Args:
        path: Path below scripts/, such as ``"reproduce/collapse.py"``.
    """
    name = "scripts_" + path.removesuffix(".py").replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str((SCRIPTS / path).parent)
    sys.path.insert(0, folder)  # as Python does for a script, which may import its neighbours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module
