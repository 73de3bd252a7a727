"""The working directory as the last place for modules."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mtl_runner.config.working_directory import (
    SAFE_PATH,
    WORKING_DIRECTORY,
    leave_working_directory,
    search_in_run,
    search_working_directory,
    working_directory_searched,
)


@pytest.fixture(autouse=True)
def restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in an empty folder, with a path and an environment that are put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    # Set first, so that they are put back whatever the test does.
    for name in (WORKING_DIRECTORY, SAFE_PATH):
        monkeypatch.setenv(name, "1")
        del os.environ[name]
    return


def test_it_comes_last(tmp_path: Path) -> None:
    """Breaks if a csv.py of the user's takes the place of Python's."""
    before = list(sys.path)
    search_working_directory()
    search_working_directory()
    assert sys.path == [*before, str(tmp_path)]


def test_workers_keep_it_out_of_their_path_until_a_run_begins(tmp_path: Path) -> None:
    """Breaks if a joblib worker imports ./signal.py or ./hydra_plugins when it starts."""
    before = list(sys.path)
    search_working_directory()
    leave_working_directory()
    assert sys.path == before, "a worker takes over the path"
    assert os.environ[SAFE_PATH] == "1", "and starts with this environment"
    with working_directory_searched():
        assert sys.path == [*before, str(tmp_path)]
    assert sys.path == before
    search_in_run()
    assert sys.path == [*before, str(tmp_path)]
    assert SAFE_PATH not in os.environ, "programs that a run starts are ordinary ones"
    leave_working_directory()
    assert sys.path[-1] == str(tmp_path), "in the process of a run it stays"


def test_a_safe_path_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if PYTHONSAFEPATH or python -P does not keep the working directory out."""

    class Flags:
        safe_path = True

    monkeypatch.setattr(sys, "flags", Flags())
    before = list(sys.path)
    search_working_directory()
    search_in_run()
    assert sys.path == before
    assert os.environ[SAFE_PATH] == "1", "workers do not see the option -P"


def test_an_entry_of_the_users_stays_where_it_is(tmp_path: Path) -> None:
    """Breaks if PYTHONPATH=. has no effect in a sweep."""
    sys.path.insert(0, str(tmp_path))
    before = list(sys.path)
    search_working_directory()
    leave_working_directory()
    assert sys.path == before
