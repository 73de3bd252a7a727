"""Runs from Python: what is refused before a run begins. Whole runs are in test_public_face.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.launch.in_process import run


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("-m", "run takes options such as 'data=digits'; found '-m'"),
        ("--help", "run takes options such as 'data=digits'; found '--help'"),
        ("+study=fair", "A study is many runs: write mtl-run -m +study=fair"),
        ("weighting=fixd", "weighting=fixd does not exist"),
        ("data.targets={a: b", "An option cannot be parsed"),
    ],
)
def test_what_cannot_be_one_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, sentence: str
) -> None:
    """Breaks if a mistake in a notebook trains something, or is a traceback of Hydra's."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        run(override)
    assert str(error.value).startswith(sentence)
    assert list(tmp_path.iterdir()) == []
