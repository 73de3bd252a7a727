"""Packages that come with an extra of mtl-runner: imported where they are used, or asked for."""

from __future__ import annotations

import importlib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mtl_runner.errors import ConfigError

# torchvision 0.29 is built for torch 2.14: their minor versions differ by this.
TORCHVISION_AHEAD = 15


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """Return a module that mtl-runner does not need, but one of its options does.

    Args:
        module: Name of the module.
        extra: The extra that installs it.
        purpose: The option that needs it, for the error.

    Raises:
        ConfigError: If it is not installed, or torchvision does not fit torch.

    Example:
        >>> import_extra("json", "timm", "model=backbone").__name__
        'json'
        >>> import_extra("no_such_module", "timm", "model=backbone")
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: model=backbone needs no_such_module, which is not
        installed; install it with: pip install 'mtl-runner[timm]'.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        # A package that is there and fails for another one is to be told apart from none.
        missing = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != missing:
            raise ConfigError(
                f"{purpose} needs {module}, which cannot be imported ({error}); install it anew with: pip install 'mtl-runner[{extra}]'."
            ) from error
        if error.name is None:
            raise ConfigError(
                f"{purpose} needs {module}, which cannot be imported ({_first_line(error)}); install it anew with: pip install 'mtl-runner[{extra}]'."
            ) from error
        raise ConfigError(
            f"{purpose} needs {missing}, which is not installed; install it with: pip install 'mtl-runner[{extra}]'."
        ) from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        raise ConfigError(mismatched_torchvision(_first_line(error))) from error


def folder_of_extra(package: str, extra: str, purpose: str) -> Path:
    """Return the folder of an installed package whose files are read, but which is not imported.

    Args:
        package: Name of the package.
        extra: The extra that installs it.
        purpose: The option that needs it, for the error.

    Raises:
        ConfigError: If it is not installed.

    Example:
        >>> folder_of_extra("json", "qm9", "data=qm9").name
        'json'
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"{purpose} needs {package}, which is not installed; install it with: pip install 'mtl-runner[{extra}]'."
        )
    return Path(spec.submodule_search_locations[0])


def mismatched_torchvision(reason: str) -> str:
    """Return the sentence about a torchvision that was built for another torch.

    Args:
        reason: What the import said.
    """
    torch, vision = metadata.version("torch"), metadata.version("torchvision")
    minor = int(torch.split(".")[1])
    return (
        f"torchvision {vision} was not built for torch {torch} ({reason}); "
        f"install a pair that fits, from one index and in one command: pip install torch==2.{minor}.* torchvision==0.{minor + TORCHVISION_AHEAD}.*, or torch==2.14.1 torchvision==0.29.1."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
