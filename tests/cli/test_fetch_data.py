"""``scripts/fetch_data.py`` says where every dataset is, and checks what was fetched."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mtl_runner.data import NYUv2
from tests.support.npy_folders import HEIGHT, WIDTH, write_npy_folders
from tests.support.paths import ROOT


@pytest.fixture
def fetch() -> ModuleType:
    """Return scripts/fetch_data.py as a module."""
    spec = importlib.util.spec_from_file_location("fetch_data", ROOT / "scripts" / "fetch_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fetch_data"] = module
    spec.loader.exec_module(module)
    return module


def test_the_script_says_where_to_get_every_dataset(
    fetch: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks the hint of every error sentence here."""
    assert fetch.main([]) == 0
    listed = capsys.readouterr().out
    for name in ("nyuv2", "cityscapes", "multi_mnist", "reuters"):
        assert f"{name}: " in listed
        assert (ROOT / "conf" / "data" / f"{name}.yaml").exists()
        assert fetch.main([name]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(f"{name}: http")
        assert f"mtl-run data={name} data.path=<folder>" in printed


def test_the_script_checks_what_it_finds(
    fetch: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Breaks the check of a download.

    A whole folder is described, a broken one gets its sentence.
    """
    monkeypatch.setattr(NYUv2, "size", (HEIGHT, WIDTH))
    nyuv2 = write_npy_folders(tmp_path / "nyuv2")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch.main(["nyuv2", str(nyuv2)]) == 0
    printed = capsys.readouterr().out
    assert (
        "train: 9 rows of (3, 6, 8); segmentation (6, 8), depth (1, 6, 8), normal (3, 6, 8)"
        in printed
    )
    assert "test: 4 rows" in printed
    assert f"It is whole: mtl-run data=nyuv2 data.path={nyuv2}" in printed
    (nyuv2 / "val" / "depth" / "0.npy").write_bytes(b"")
    assert fetch.main(["nyuv2", str(nyuv2)]) == 1
    captured = capsys.readouterr()
    assert "is not a whole .npy file" in captured.err
    assert "It is whole" not in captured.out
