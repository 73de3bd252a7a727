"""Runs in processes of their own: places, deaths and reasons.

The programs are stand-ins here; in ``tests/cli`` the processes train.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mtl_runner.launch import processes
from mtl_runner.launch.processes import RunProcesses, Work, _cause
from mtl_runner.results.records.run import read_run
from mtl_runner.runs.queued import enqueue
from mtl_runner.runs.request import Request
from tests.unit.runs.small_runs import tiny_request

Programs = Callable[[str], dict[int, Request]]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """``programs(code)`` queues four runs, in whose place this Python code is started."""

    def queue(code: str) -> dict[int, Request]:
        monkeypatch.setattr(
            processes, "command_of", lambda path: [sys.executable, "-c", code, str(path)]
        )
        requests = {}
        for number in range(4):
            request = tiny_request(tmp_path / str(number), f"seed={number}")
            requests[number] = replace(request, job=str(number))
            enqueue(requests[number])
        return requests

    return queue


def run_all(requests: dict[int, Request], **options: object) -> RunProcesses:
    """Start the programs of all runs, two at a time unless told otherwise."""
    needs = options.pop("needs", dict.fromkeys(requests, 1))
    works = [Work((n,), request.directory, needs[n]) for n, request in requests.items()]  # type: ignore[index]
    given = {"works": works, "places": ["", ""], "most": 2, **options}
    pool = RunProcesses(requests, **given)  # type: ignore[arg-type]
    pool.run()
    return pool


WRITE = "import os, pathlib, sys; folder = pathlib.Path(sys.argv[1]); "


def test_every_process_sees_the_gpus_that_it_was_given(programs: Programs, tmp_path: Path) -> None:
    """Breaks if two jobs share a GPU while another one idles, or a job sees too few."""
    requests = programs(
        WRITE + "(folder / 'gpus').write_text(os.environ.get('CUDA_VISIBLE_DEVICES', 'none'))"
    )
    run_all(requests, places=["3", "5", "7"], needs={0: 2, 1: 1, 2: 3, 3: 1}, most=3)
    seen = [(tmp_path / str(number) / "gpus").read_text() for number in range(4)]
    assert seen[:3] == ["3,5", "7", "3,5,7"]
    assert seen[3] == "3"


def test_a_job_of_several_gpus_gets_different_ones(programs: Programs, tmp_path: Path) -> None:
    """Breaks if two processes of one run are put on the same GPU where jobs share GPUs."""
    requests = programs(WRITE + "(folder / 'gpus').write_text(os.environ['CUDA_VISIBLE_DEVICES'])")
    run_all(requests, places=["0", "1", "0", "1"], needs=dict.fromkeys(requests, 2), most=4)
    assert {(tmp_path / str(number) / "gpus").read_text() for number in range(4)} == {"0,1"}


def test_threads_are_shared_out_unless_the_user_says_otherwise(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if all processes use all cores at once, or a user's own setting is lost."""
    code = WRITE + "(folder / 'threads').write_text(os.environ['OMP_NUM_THREADS'])"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run_all(programs(code), threads=3)
    assert (tmp_path / "0" / "threads").read_text() == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    run_all(programs(code), threads=3)
    assert (tmp_path / "0" / "threads").read_text() == "5"


def test_a_process_that_ends_without_a_record_says_its_last_line(programs: Programs) -> None:
    """Breaks if a run that could not even begin fails without a reason."""
    requests = programs("import sys; print('working'); sys.exit('The package is broken.')")
    pool = run_all(requests)
    assert {outcome.error for outcome in pool.outcomes.values()} == {"The package is broken."}
    run = read_run(requests[2].directory)
    assert (run.status, run.reason) == ("failed", "The package is broken.")


def test_a_process_that_says_nothing_has_its_status_for_a_reason(programs: Programs) -> None:
    """Breaks if the reason of a failed run is empty."""
    pool = run_all(programs("raise SystemExit(3)"))
    assert pool.outcomes[0].error.startswith("The process of the run ended with status 3; the same")


@pytest.mark.parametrize("retries", [0, 2])
def test_a_killed_process_starts_again_as_often_as_it_may(
    programs: Programs, tmp_path: Path, retries: int
) -> None:
    """Breaks if a job that always dies is tried for ever, or not at all."""
    code = WRITE + "(folder / 'starts').open('a').write('x'); os.kill(os.getpid(), 9)"
    pool = run_all(programs(code), retries=retries)
    assert len((tmp_path / "3" / "starts").read_text()) == 1 + retries
    assert pool.outcomes[3].error.startswith("The process of the run was killed by SIGKILL")
    assert ("hydra.launcher.retries=1" in pool.outcomes[3].error) == (retries == 0)


def test_what_a_process_prints_is_kept(programs: Programs, tmp_path: Path) -> None:
    """Breaks if the output of a user's own code, or a crash of a library, is lost."""
    run_all(programs("print('of a user'); raise SystemExit(1)"))
    assert (tmp_path / "1" / processes.PROCESS_LOG).read_text() == "of a user\n"


def test_a_process_that_dies_loses_the_runs_of_its_stack_and_no_others(
    programs: Programs, tmp_path: Path
) -> None:
    """Breaks if a killed stack leaves a run without an end, or is not started again."""
    requests = programs(
        "import os, pathlib, sys; path = pathlib.Path(sys.argv[1]); "
        "path.with_suffix('.starts').open('a').write('x') if path.suffix else sys.exit('alone'); "
        "print('out', flush=True); os.kill(os.getpid(), 9)"
    )
    (tmp_path / "stacks").mkdir()
    stack = Work((0, 1, 2), tmp_path / "stacks" / "stack_0.json")
    works = [stack, Work((3,), requests[3].directory)]
    pool = run_all(requests, works=works, retries=1)
    assert stack.path.with_suffix(".starts").read_text() == "xx"
    assert stack.log.read_text() == "out\nout\n"
    killed = {pool.outcomes[number].error.partition(" (")[0] for number in (0, 1, 2)}
    assert killed == {"The process of the run was killed by SIGKILL"}
    assert pool.outcomes[3].error == "alone"
    assert [read_run(request.directory).status for request in requests.values()] == ["failed"] * 4


def test_the_end_of_a_process_has_a_name() -> None:
    """Breaks if a segmentation fault is a number."""
    assert _cause(-11) == "The process of the run was killed by SIGSEGV"
    assert _cause(-9).endswith("by SIGKILL (no memory left, or by hand)")
    assert _cause(-63) == "The process of the run was killed by signal 63" or os.name == "nt"
