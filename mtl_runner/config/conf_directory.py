"""Where our configs are: inside the wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

from mtl_runner.errors import RunDirectoryError


def conf_directory() -> Path:
    """The folder that holds ``config.yaml``. Raises ``RunDirectoryError`` if the installation is incomplete."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "config.yaml").exists():
            return candidate
    raise RunDirectoryError(
        f"The configs of mtl-runner are missing beside {str(package)!r}; install it again."
    )
