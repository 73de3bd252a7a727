"""Many runs at once: which are stacked, and what happens when a stack fails as a whole."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.models import MLP
from mtl_runner.runs.records import read_summary
from mtl_runner.runs.request import Request
from mtl_runner.runs.runner import run
from mtl_runner.runs.stacked import StackedRuns, max_replicas
from mtl_runner.tasks.task import Task
from mtl_runner.train import checkpoint
from mtl_runner.train.interruption import STOP_SIGNALS, StoppedBySignal, take_signals
from mtl_runner.train.stack import StackTrainer, stack_trainer
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


@pytest.fixture
def taken_signals() -> Iterator[None]:
    """Signals stop the test as they stop the command."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOP_SIGNALS}
    take_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Signalled(MLP):
    """A model that SIGTERM reaches while it is made.

    Attributes:
        begun: The run that has to have begun before; None for no signal.
    """

    begun: Path | None = None

    def __init__(self, tasks: list[Task], input_shape: tuple[int, ...], **options: Any) -> None:
        if Signalled.begun is not None and (Signalled.begun / "summary.json").exists():
            Signalled.begun = None
            signal.raise_signal(signal.SIGTERM)
        super().__init__(tasks, input_shape, **options)


@pytest.mark.usefixtures("taken_signals")
@pytest.mark.parametrize("begun", [1, 3])
def test_a_signal_while_a_stack_is_set_up_is_recorded_in_every_run_that_has_begun(
    requests: dict[int, Request], tmp_path: Path, begun: int
) -> None:
    """Breaks if a run that Slurm preempts before its training stays "running" for ever."""
    for request in requests.values():
        request.config.model._target_ = f"{__name__}.Signalled"
    Signalled.begun = tmp_path / str(begun - 1)
    with pytest.raises(StoppedBySignal) as stopped:
        StackedRuns(requests, 2e9).run()
    assert stopped.value.number == signal.SIGTERM
    summaries = [read_summary(tmp_path / str(k)) for k in range(4)]
    assert [(s.get("status"), s.get("reason")) for s in summaries] == [
        ("interrupted", "stopped by SIGTERM")
    ] * begun + [(None, None)] * (4 - begun)
    resumed = StackedRuns(requests, 2e9)
    resumed.run()
    assert [resumed.outcomes[k].error for k in range(4)] == [""] * 4


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
    requests: dict[int, Request], tmp_path: Path
) -> None:
    """Breaks if results of unknown origin are overwritten, or stop the other runs of the stack."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "metrics.csv").write_text("precious")
    runs = StackedRuns(requests, 2e9)
    runs.run()
    assert list(runs.refused) == [1]
    assert "already holds a metrics.csv of unknown origin" in str(runs.refused[1])
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
    assert capsys.readouterr().out == "", "the report of the sweep counts them"
    assert [second.outcomes[k].monitor for k in range(4)] == pytest.approx(
        [first.outcomes[k].monitor for k in range(4)]
    )


class Killed(BaseException):
    """Stands for a kill: nothing of the package handles it."""


class Killer:
    """Counts what a process does to files of runs; from one of them on, nothing gets through.

    Attributes:
        folder: The folder that holds the run directories.
        count: How many times something was done so far.
        at: The number of the operation that kills; 0: none.
    """

    OPERATIONS = (
        "open",
        "os.rename",
        "os.link",
        "os.remove",
        "os.mkdir",
        "os.rmdir",
        "os.truncate",
    )
    FILES = ("checkpoint.pt", "best.pt", "metrics.csv", checkpoint.PREVIOUS)

    def __init__(self) -> None:
        self.folder, self.count, self.at = "", 0, 0
        # There is no way to take the hook out again.
        sys.addaudithook(self.see)

    def see(self, event: str, args: tuple[Any, ...]) -> None:
        """Count an operation, and refuse it if the process was to be killed before it."""
        if not self.folder or event not in self.OPERATIONS or not args:
            return
        path = str(args[0])
        if path.startswith(self.folder) and any(name in path for name in self.FILES):
            self.count += 1
            if self.at and self.count >= self.at:
                raise Killed

    def run(self, requests: dict[int, Request], at: int = 0) -> int:
        """Train runs, killed at an operation; return how many operations there were."""
        self.folder, self.count, self.at = str(requests[0].directory.parent), 0, at
        try:
            runs = StackedRuns(requests, 2e9)
            runs.run()
            # What the launcher does: of runs that were killed at their end, one can be left.
            for index in runs.not_stacked:
                assert run(requests[index]).error == ""
        except Killed:
            pass
        finally:
            self.folder = ""
        return self.count


@pytest.fixture(scope="module")
def killer() -> Killer:
    """The one that kills."""
    return Killer()


# Of three, the first can be done, the second amid it and the third not begun.
@pytest.mark.long
@pytest.mark.parametrize("share", [0.03, 1.0])
def test_a_stack_that_is_killed_at_any_operation_resumes_to_the_same_bytes(
    share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killer: Killer
) -> None:
    """Breaks if replicas go on from different epochs, or something is left behind."""
    monkeypatch.setattr(stack_trainer, "MIN_SNAPSHOT_STEPS", 1)  # files after every epoch

    def requests(name: str) -> dict[int, Request]:
        options = ("data.n=40", "data.n_val=20", "data.n_test=20", "trainer.epochs=2")
        return {
            seed: tiny_request(tmp_path / name / str(seed), f"seed={seed}", *options)
            for seed in range(3)
        }

    def files(name: str) -> dict[str, bytes]:
        contents: dict[str, bytes] = {}
        for path in sorted((tmp_path / name).rglob("*")):
            content = path.read_bytes() if path.name == "metrics.csv" else b""
            if path.name == "summary.json":
                summary = json.loads(path.read_text())
                del summary["time"]
                content = json.dumps(summary).encode()
            contents[str(path.relative_to(tmp_path / name))] = content
        return contents

    operations = killer.run(requests("undisturbed"))
    assert operations > 60
    expected = files("undisturbed")
    for at in range(1, operations + 1, round(1 / share)):
        name = f"killed{at}"
        killer.run(requests(name), at)
        # Every third is killed again while it goes back to the epoch of the others.
        if at % 3 == 0:
            killer.run(requests(name), 1 + at % 20)
        killer.run(requests(name))
        assert files(name) == expected, f"killed before operation {at}"
        shutil.rmtree(tmp_path / name)


def test_a_damaged_checkpoint_costs_one_run_and_no_other(
    tmp_path: Path, requests: dict[int, Request]
) -> None:
    """Breaks if a sweep cannot be resumed because one of its files is damaged."""
    StackedRuns(requests, 2e9).run()
    for seed in range(4):
        (tmp_path / str(seed) / "summary.json").unlink()
    (tmp_path / "2" / "checkpoint.pt").write_bytes(b"damaged")
    resumed = StackedRuns(requests, 2e9)
    resumed.run()
    assert list(resumed.refused) == [2]
    assert "checkpoint.pt' cannot be read as a checkpoint; run again" in str(resumed.refused[2])
    assert [resumed.outcomes[seed].error for seed in (0, 1, 3)] == [""] * 3


@pytest.mark.parametrize(("limit", "size"), [(1024, 256), (256, 192), (20, 1)])
def test_a_stack_has_no_more_runs_than_files_may_be_open(limit: int, size: int) -> None:
    """Breaks if a sweep fails where a system allows 256 open files, as macOS does."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        assert max_replicas() == size
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


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
    replace_file, checkpoints = Path.replace, []

    def killed_amid(self: Path, target: Path) -> Path:
        if target == tmp_path / "killed" / "1" / "checkpoint.pt":
            checkpoints.append(target)
            if len(checkpoints) == 2:  # that of epoch 2
                raise Killed
        return replace_file(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed_amid)
        with pytest.raises(Killed):
            StackedRuns(killed, 2e9).run()
    saved = [checkpoint.saved_positions(request.directory) for request in killed.values()]
    assert saved == [[(2, 0), (1, 0)], [(1, 0), (1, 0)], [(1, 0), (1, 0)]]
    resumed = StackedRuns(killed, 2e9)
    resumed.run()
    assert (list(resumed.outcomes), resumed.not_stacked) == ([0, 1, 2], {})
    for seed in range(3):
        expected = undisturbed[seed].directory / "metrics.csv"
        assert (killed[seed].directory / "metrics.csv").read_bytes() == expected.read_bytes()
