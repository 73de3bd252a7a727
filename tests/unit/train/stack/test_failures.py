"""What goes wrong in a stack as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.runs.directory import read_summary
from mtl_runner.runs.request import Request
from mtl_runner.runs.stacked import Stacker
from mtl_runner.train.stack import Stack


@pytest.fixture
def requests(tmp_path: Path) -> dict[int, Request]:
    """Four runs that differ in their seeds."""
    found = {}
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        for seed in range(4):
            overrides = [
                f"seed={seed}",
                "model.hidden=[4]",
                "trainer.epochs=2",
                "record.plots=none",
                "name=run",
            ]
            found[seed] = Request(
                compose("config", overrides), tmp_path / str(seed), overrides, job=str(seed)
            )
    return found


def test_a_mistake_of_ours_is_not_taken_for_a_model_that_cannot_be_stacked(
    requests: dict[int, Request], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Breaks if a bug in the stack's own records is hidden by training the runs one by one."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(Stack, "_means", broken)
    stacker = Stacker(requests, 2e9)
    stacker.run()
    assert stacker.alone == {}
    assert [stacker.outcomes[k].exit_code for k in range(4)] == [1] * 4
    for k in range(4):
        found = read_summary(tmp_path / str(k))
        assert found["status"] == "failed"
        assert found["reason"].startswith(
            "ZeroDivisionError: a mistake of ours (raised in test_failures.py, line "
        )


def test_too_little_memory_halves_the_stack_down_to_single_runs(
    requests: dict[int, Request],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Breaks if a stack that does not fit fails, or is tried again for ever."""
    sizes, train = [], Stack._train_epoch

    def short(self: Stack) -> Any:
        sizes.append(len(self.trainers))
        if len(self.trainers) > 1 or self.trainers[0].directory.name == "3":
            raise MemoryError
        return train(self)

    monkeypatch.setattr(Stack, "_train_epoch", short)
    stacker = Stacker(requests, 2e9)
    stacker.run()
    assert sizes[:2] == [4, 2]
    said = capsys.readouterr().out
    assert "Out of memory with a stack of 4 runs; going on with 2 at a time." in said
    assert stacker.alone == {3: "there is not enough memory to stack it"}
    assert [read_summary(tmp_path / str(k))["status"] for k in range(3)] == ["finished"] * 3
