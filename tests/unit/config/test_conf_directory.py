"""Where the configs lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_runner.config import conf_directory as module
from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import RunDirectoryError
from tests.support.paths import CONF


def test_a_checkout_reads_its_own_configs() -> None:
    """Breaks if an edited config of a checkout has no effect."""
    assert conf_directory() == CONF


def test_a_wheel_reads_the_configs_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if an installed package finds no configs, or those beside it in site-packages."""
    package = tmp_path / "mtl_runner"
    monkeypatch.setattr(module, "__file__", str(package / "config" / "conf_directory.py"))
    with pytest.raises(RunDirectoryError, match="The configs of mtl-runner are missing"):
        conf_directory()
    for folder in (tmp_path / "conf", package / "conf"):
        folder.mkdir(parents=True)
        (folder / "config.yaml").touch()
    assert conf_directory() == package / "conf"
