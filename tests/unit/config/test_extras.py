"""Packages of extras: what is said when they are not there, or do not fit."""

from __future__ import annotations

import importlib
from importlib import metadata
from pathlib import Path

import pytest

from mtl_runner.config.extras import folder_of_extra, import_extra, mismatched_torchvision
from mtl_runner.errors import ConfigError


def test_a_missing_package_is_named_with_its_extra() -> None:
    """Breaks if a user does not learn what to install."""
    with pytest.raises(ConfigError) as error:
        import_extra("not_there.part", "timm", "model=backbone")
    assert str(error.value) == (
        "model=backbone needs not_there, which is not installed; install it with: pip install 'mtl-runner[timm]'."
    )


def test_a_package_that_needs_another_one_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if somebody is told to install what is installed."""
    (tmp_path / "half_there.py").write_text("import not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"half_there, which cannot be imported .*not_there"):
        import_extra("half_there", "timm", "model=backbone")


def test_a_torchvision_of_another_torch_is_told_with_a_pair_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Breaks if 'operator torchvision::nms does not exist' reaches the user alone."""

    def fail(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    versions = {"torch": "2.13.0+cpu", "torchvision": "0.28.0"}
    monkeypatch.setattr(importlib, "import_module", fail)
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    with pytest.raises(ConfigError) as error:
        import_extra("timm", "timm", "model=backbone")
    assert str(error.value) == mismatched_torchvision("operator torchvision::nms does not exist")
    assert str(error.value).startswith(
        "torchvision 0.28.0 was not built for torch 2.13.0+cpu (operator torchvision::nms does not exist); "
    )
    assert "pip install torch==2.13.* torchvision==0.28.*" in str(error.value)
    assert "torch==2.14.1 torchvision==0.29.1" in str(error.value)


def test_other_errors_of_an_import_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if an error of a package is taken for a torchvision that does not fit."""
    (tmp_path / "broken_package.py").write_text("raise RuntimeError('something else')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="something else"):
        import_extra("broken_package", "timm", "model=backbone")


def test_the_folder_of_a_package_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks packages that hold data and cannot be imported, as qm9pack without setuptools."""
    (tmp_path / "only_data").mkdir()
    (tmp_path / "only_data/__init__.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert folder_of_extra("only_data", "qm9", "data=qm9") == tmp_path / "only_data"
    with pytest.raises(
        ConfigError,
        match=r"^data=qm9 needs not_there, which is not installed; install it with: pip install 'mtl-runner\[qm9\]'\.$",
    ):
        folder_of_extra("not_there", "qm9", "data=qm9")
