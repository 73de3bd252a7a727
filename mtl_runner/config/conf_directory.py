"""The folder of our configs: inside the wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

from mtl_runner.errors import RunDirectoryError


def conf_directory() -> Path:
    """Return the folder that holds ``config.yaml``.

    Raises:
        RunDirectoryError: If the installation is incomplete.

    Example:
        >>> (conf_directory() / "weighting" / "fixed.yaml").exists()
        True
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "config.yaml").exists():
            return candidate
    raise RunDirectoryError(
        f"The configs of mtl-runner are missing beside {str(package)!r}; install it again."
    )
