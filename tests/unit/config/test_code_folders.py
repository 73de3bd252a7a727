"""Where a user's own modules lay, and when that folder is searched."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mtl_runner.config.code_folders import folders_of_code, search_recorded_folder
from mtl_runner.config.trust import checked_trees
from mtl_runner.errors import ConfigError, RunDirectoryError

FILE = Path("run/best.pt")
TREE = {"model": {"_target_": "own_nets_17.Net"}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module that is not on Python's path."""
    (tmp_path / "own_nets_17.py").write_text("from torch import nn\nclass Net(nn.Module): ...\n")
    (tmp_path / "json.py").write_text("raise SystemExit\n")
    monkeypatch.delitem(sys.modules, "own_nets_17", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_folders_of_own_modules_and_packages_are_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a run does not know where its code lay, or records where torch is installed."""
    (folder / "own_package_17").mkdir()
    (folder / "own_package_17/__init__.py").write_text("class Loss: ...\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "own_package_17", raising=False)
    import own_nets_17
    import own_package_17

    assert own_nets_17
    assert own_package_17
    node = {"_target_": "own_nets_17.Net", "x": [{"_target_": "own_package_17.Loss"}]}
    ours = [{"_target_": name} for name in ("torch.nn.ReLU", "mtl_runner.models.MLP", "json.loads")]
    assert folders_of_code([node, *ours]) == {
        "own_nets_17": str(folder),
        "own_package_17": str(folder),
    }


def test_a_trusted_module_is_found_where_it_lay(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a run is loaded in its code's folder alone, or a folder is used in silence."""
    folders = {"own_nets_17": str(folder)}
    assert checked_trees(TREE, set(), ["own_nets_17"], FILE, folders) == TREE
    assert (
        capsys.readouterr().err
        == f"own_nets_17 is taken from {str(folder)!r}, where its run found it.\n"
    )
    assert sys.path[-1] == str(folder)
    import json

    assert json.loads("1") == 1


def test_without_trust_the_folder_is_named_and_not_searched(folder: Path) -> None:
    """Breaks if a file of somebody else leads Python to a folder, or hides where code lies."""
    before = list(sys.path)
    with pytest.raises(RunDirectoryError) as error:
        checked_trees(TREE, set(), [], FILE, {"own_nets_17": str(folder)})
    assert str(error.value) == (
        "'run/best.pt' names code that is neither mtl-runner's nor a layer of torch.nn (model._target_='own_nets_17.Net'; "
        f"own_nets_17 lies in {str(folder)!r}); only if you trust it, type mtl_runner.load('run', trust=['own_nets_17']), "
        "or in a terminal --trust own_nets_17."
    )
    assert sys.path == before
    assert "own_nets_17" not in sys.modules


def test_a_folder_that_is_gone_is_named(folder: Path) -> None:
    """Breaks if a user does not learn where the code was."""
    with pytest.raises(ConfigError) as error:
        checked_trees(TREE, set(), ["own_nets_17"], FILE, {"own_nets_17": "/no/such/folder"})
    assert str(error.value).endswith(
        "put the folder that holds own_nets_17 on PYTHONPATH: '/no/such/folder', where its run found it, does not hold it any more."
    )


@pytest.mark.parametrize("recorded", [{"json": "/tmp"}, {"own_nets_17": 3}, {3: "x"}, {}])
def test_other_records_change_nothing(folder: Path, recorded: dict[object, object]) -> None:
    """Breaks if a module that Python finds is replaced, or a damaged record is a traceback."""
    before = list(sys.path)
    assert search_recorded_folder("json", recorded) is None
    assert search_recorded_folder("own_nets_17", recorded) is None
    assert sys.path == before
