"""Runs from Python: what is refused before a run begins, and whose code a result may use.

Other whole runs are in test_public_face.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtl_runner import load
from mtl_runner.errors import ConfigError, RunDirectoryError
from mtl_runner.launch.in_process import run


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("-m", "run takes options such as 'data=digits'; found '-m'"),
        ("--help", "run takes options such as 'data=digits'; found '--help'"),
        ("+study=fair", "A study is many runs: write mtl-run -m +study=fair"),
        ("search=optuna", "A search is many runs: write mtl-run -m +search=optuna"),
        ("weighting=fixd", "weighting=fixd does not exist"),
        ("data.targets={a: b", "The option 'data.targets={a: b' cannot be parsed"),
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


def test_the_result_trusts_what_its_config_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the model that was trained a moment ago is foreign code to its own result."""
    (tmp_path / "my_net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, tasks, layer):\n"
        "        super().__init__()\n"
        "        self.heads = nn.ModuleDict({task.name: nn.Linear(1, task.size) for task in tasks})\n"
        "        self.layer = layer\n"
        "    def forward(self, x):\n"
        "        return {name: self.layer(head(x)) for name, head in self.heads.items()}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    result = run(
        "data=toy_regression",
        "model._target_=my_net.Net",
        "model.layer={_target_: torch.nn.functional.softplus, _partial_: true}",
        *("~model.hidden", "~model.activation", "~model.dropout"),
        *("trainer.epochs=1", "record.plots=none", "hydra.run.dir=run"),
    )
    assert set(result.predictor.predict(torch.zeros(2, 1))) == {"y1", "y2"}
    with pytest.raises(
        RunDirectoryError, match=r"trust=\['my_net', 'torch\.nn\.functional\.softplus'\]"
    ):
        load("run")
    assert load("run", trust=["my_net", "torch.nn.functional.softplus"]).model.layer
