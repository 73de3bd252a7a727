"""Many runs at once: which are stacked, and what happens when a stack fails as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.runs.directory import read_summary
from mtl_runner.runs.request import Request
from mtl_runner.runs.stacked import StackedRuns
from mtl_runner.train import checkpoint
from mtl_runner.train.stack import StackTrainer, stack_trainer
from mtl_runner.train.trainer import Trainer
from tests.unit.runs.small_runs import tiny_request


@pytest.fixture
def requests(tmp_path: Path) -> dict[int, Request]:
    """Four runs that differ in their seeds."""
    return {
        seed: replace(
            tiny_request(tmp_path / str(seed), f"seed={seed}", "trainer.epochs=2"), job=str(seed)
        )
        for seed in range(4)
    }


def test_a_mistake_of_ours_is_not_taken_for_a_model_that_cannot_be_stacked(
    requests: dict[int, Request], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Breaks if a bug in the stack's own records is hidden by training the runs one by one."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(StackTrainer, "_means", broken)
    runs = StackedRuns(requests, 2e9)
    runs.run()
    assert runs.not_stacked == {}
    assert [runs.outcomes[k].exit_code for k in range(4)] == [1] * 4
    for k in range(4):
        summary = read_summary(tmp_path / str(k))
        assert summary["status"] == "failed"
        assert summary["reason"].startswith(
            "ZeroDivisionError: a mistake of ours (raised in test_stacked.py, line "
        )


def test_too_little_memory_halves_the_stack_down_to_single_runs(
    requests: dict[int, Request],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Breaks if a stack that does not fit fails, or is tried again for ever."""
    sizes, train = [], StackTrainer._train_epoch

    def limited_memory(self: StackTrainer) -> Any:
        sizes.append(len(self.trainers))
        if len(self.trainers) > 1 or self.trainers[0].directory.name == "3":
            raise MemoryError
        return train(self)

    monkeypatch.setattr(StackTrainer, "_train_epoch", limited_memory)
    runs = StackedRuns(requests, 2e9)
    runs.run()
    assert sizes[:2] == [4, 2]
    assert (
        "Out of memory with a stack of 4 runs; going on with 2 at a time."
        in capsys.readouterr().out
    )
    assert runs.not_stacked == {3: "there is not enough memory to stack it"}
    assert [read_summary(tmp_path / str(k))["status"] for k in range(3)] == ["finished"] * 3


def test_a_run_without_a_partner_is_not_stacked(requests: dict[int, Request]) -> None:
    """Breaks if a stack of one is made, or a run is lost."""
    runs = StackedRuns({0: requests[0]}, 2e9)
    runs.run()
    assert runs.not_stacked == {0: "no other run is like it but for numbers"}
    assert runs.outcomes == {}


def test_a_taken_directory_refuses_one_run_and_no_other(
    requests: dict[int, Request], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if results of unknown origin are overwritten, or stop the other runs of the stack."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "metrics.csv").write_text("precious")
    runs = StackedRuns(requests, 2e9)
    runs.run()
    assert list(runs.refused) == [1]
    assert "already holds a metrics.csv of unknown origin" in str(runs.refused[1])
    assert "[1] failed: " in capsys.readouterr().err
    assert (tmp_path / "1" / "metrics.csv").read_text() == "precious"
    assert [runs.outcomes[k].error for k in (0, 2, 3)] == [""] * 3


def test_a_finished_run_is_not_trained_again(
    requests: dict[int, Request], capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a resumed sweep costs the time of what it has, or loses its monitors."""
    first = StackedRuns(requests, 2e9)
    first.run()
    capsys.readouterr()
    second = StackedRuns(requests, 2e9)
    second.run()
    assert capsys.readouterr().out.splitlines() == [f"[{k}] finished already" for k in range(4)]
    assert [second.outcomes[k].monitor for k in range(4)] == pytest.approx(
        [first.outcomes[k].monitor for k in range(4)]
    )


class Killed(BaseException):
    """Stands for a kill: nothing of the package handles it."""


def test_a_run_that_was_saved_just_before_a_kill_goes_back_to_the_epoch_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the runs of a stack that was killed amid its files go on from different epochs."""
    monkeypatch.setattr(stack_trainer, "MIN_SNAPSHOT_STEPS", 1)  # files after every epoch
    undisturbed, killed = (
        {
            seed: tiny_request(tmp_path / name / str(seed), f"seed={seed}", "trainer.epochs=3")
            for seed in range(3)
        }
        for name in ("undisturbed", "killed")
    )
    StackedRuns(undisturbed, 2e9).run()
    save = Trainer.save

    def killed_amid(self: Trainer, keep_previous: bool = False) -> None:
        if (self.directory.name, self.epoch) == ("1", 2):
            raise Killed
        save(self, keep_previous)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", killed_amid)
        with pytest.raises(Killed):
            StackedRuns(killed, 2e9).run()
    saved = [checkpoint.saved_epochs(request.directory) for request in killed.values()]
    assert saved == [[2, 1], [1], [1]]
    resumed = StackedRuns(killed, 2e9)
    resumed.run()
    assert (list(resumed.outcomes), resumed.not_stacked) == ([0, 1, 2], {})
    for seed in range(3):
        expected = undisturbed[seed].directory / "metrics.csv"
        assert (killed[seed].directory / "metrics.csv").read_bytes() == expected.read_bytes()
