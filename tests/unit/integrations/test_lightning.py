"""The callback for Lightning; a whole run is in tests/docs/test_own_loops.py."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mtl_runner import Recorder, Task
from mtl_runner.errors import ConfigError
from mtl_runner.integrations.lightning import PACKAGES, recorder_callback
from mtl_runner.results.records.run import read_run


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if somebody without Lightning gets a traceback."""
    for name in PACKAGES:
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setitem(sys.modules, name.partition(".")[0], None)
    monkeypatch.setattr("mtl_runner.integrations.lightning.find_spec", lambda name: None)
    recorder_callback.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'mtl-runner\[lightning\]'"):
        recorder_callback()


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")
def test_a_step_that_returns_too_little_is_named_and_a_failure_recorded(tmp_path: Path) -> None:
    """Breaks if a module without losses in its answer trains without a record."""
    pytest.importorskip("pytorch_lightning", reason="the callback's base is Lightning's")
    recorder_callback.cache_clear()
    recorder = Recorder(tmp_path / "run", [Task("a")], plots=False)
    callback = recorder_callback()(recorder)
    trainer = SimpleNamespace(sanity_checking=True, current_epoch=0)
    with pytest.raises(
        ConfigError, match="training_step to return a dict with 'loss' and 'losses'"
    ):
        callback.on_train_batch_end(trainer, None, {"loss": torch.tensor(1.0)}, None, 0)
    callback.on_validation_batch_end(trainer, None, None, None, 0)
    trainer.sanity_checking = False
    with pytest.raises(ConfigError, match="validation_step to return a dict with 'outputs'"):
        callback.on_validation_batch_end(trainer, None, None, None, 0)
    callback.on_exception(trainer, None, ValueError("broken"))
    assert read_run(tmp_path / "run").reason == "ValueError: broken"
