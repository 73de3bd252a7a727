"""The runs of a sweep's directory, which a larger sweep uses again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mtl_runner.files import write_json
from mtl_runner.runs.request import Request
from mtl_runner.runs.sweep_runs import SweepRuns, is_finished, run_folders
from tests.unit.runs.claims import claim_for, config


def request(**options: object) -> Request:
    """Return a job with these options."""
    return Request(config(**options), Path("elsewhere"))


def finish(folder: Path) -> None:
    """Leave the summary of a run that has finished."""
    result = {
        "epochs": 1,
        "monitor": {"name": "relative_loss", "final": 0.5},
        "tasks": {"y1": {}},
        "time": {},
    }
    write_json(folder / "summary.json", {"status": "finished", **result})


def test_a_run_is_known_by_its_config_and_used_once(tmp_path: Path) -> None:
    """Breaks if a job gets the run of another seed, or two jobs get one run."""
    for number, seed in enumerate((0, 1, 1)):
        claim_for(tmp_path / f"{number}_run", config(seed=seed))
    finish(tmp_path / "2_run")
    runs = SweepRuns(tmp_path)
    assert (len(runs), runs.next_number) == (3, 3)
    assert runs.take(request(seed=2)) is None
    assert runs.take(request(seed=1)) == tmp_path / "2_run", "the finished one comes first"
    assert runs.take(request(seed=1)) == tmp_path / "1_run"
    assert runs.take(request(seed=1)) is None
    assert len(runs) == 1
    assert [is_finished(tmp_path / f"{n}_run") for n in range(3)] == [False, False, True]


def test_what_changes_no_result_makes_no_other_run(tmp_path: Path) -> None:
    """Breaks if a final run is made again because tuning runs keep no checkpoint."""
    claim_for(tmp_path / "0_run", config(record={"checkpoints": "none"}))
    assert SweepRuns(tmp_path).take(request(record={"checkpoints": "both"})) == tmp_path / "0_run"


def test_a_run_of_an_older_version_is_found_by_its_options(tmp_path: Path) -> None:
    """Breaks if a new option with a default makes every run of a sweep anew, beside the old one."""
    claim_for(tmp_path / "0_run", config())
    job = replace(request(trainer={"patience": None}), overrides=["seed=0", "data=toy"])
    assert SweepRuns(tmp_path).take(job) == tmp_path / "0_run"


def test_folders_in_folders_and_damaged_records(tmp_path: Path) -> None:
    """Breaks if a name with a slash hides runs, or one damaged file ends the sweep."""
    claim_for(tmp_path / "4_group" / "run", config())
    claim_for(tmp_path / "9_run", config(seed=9))
    (tmp_path / "9_run" / ".hydra" / "config.yaml").write_text("[")
    (tmp_path / "report").mkdir()
    assert {path.name for path in run_folders(tmp_path)} == {"run", "9_run"}
    runs = SweepRuns(tmp_path)
    assert (len(runs), runs.next_number) == (1, 10)
    assert runs.take(request()) == tmp_path / "4_group" / "run"
