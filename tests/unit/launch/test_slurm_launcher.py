"""The launcher ``slurm``: what its jobs ask for; with a real Slurm it is in tests/cli."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mtl_runner.errors import ConfigError
from mtl_runner.launch.slurm_launcher import SlurmLauncher, SlurmOptions, _partition_has_gpus
from mtl_runner.runs.request import Request
from tests.unit.runs.small_runs import tiny_request

Sinfo = Callable[[str], None]


@pytest.fixture
def sinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sinfo:
    """``sinfo(text)`` is a Slurm whose command of that name prints this."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def make(text: str) -> None:
        (tmp_path / "sinfo").write_text(f"#!/bin/sh\ncat <<END\n{text}\nEND\n")
        (tmp_path / "sinfo").chmod(0o755)

    return make


def request(tmp_path: Path, **options: Any) -> Request:
    """Return a request with these options; dots are written as two underscores."""
    made = tiny_request(tmp_path)
    for key, value in options.items():
        OmegaConf.update(made.config, key.replace("__", "."), value, force_add=True)
    return made


def test_jobs_ask_for_gpus_where_there_are_some(sinfo: Sinfo, tmp_path: Path) -> None:
    """Breaks if runs train on the CPU of a GPU node, or sbatch refuses them where there is none."""
    on_gpu = request(tmp_path, trainer__device="auto", trainer__devices=2)
    on_cpu = request(tmp_path, trainer__device="cpu")
    sinfo("a100 gpu:a100:4(S:0-1)")
    assert SlurmOptions(partition="a100").parameters([on_gpu])["gpus_per_node"] == 2
    assert "gpus_per_node" not in SlurmOptions(partition="a100").parameters([on_cpu])
    assert SlurmOptions(gpus=1).parameters([on_cpu])["gpus_per_node"] == 1
    assert "gpus_per_node" not in SlurmOptions(gpus=0).parameters([on_gpu])
    sinfo("main* (null)\nbig gpu:8")
    assert "gpus_per_node" not in SlurmOptions().parameters([on_gpu])
    assert not _partition_has_gpus(None)
    sinfo("main (null)\nbig* gpu:8")
    assert _partition_has_gpus(None)


def test_jobs_ask_for_the_cores_that_a_run_uses(tmp_path: Path) -> None:
    """Breaks if loader workers and threads share one core."""
    small = request(tmp_path)
    large = request(tmp_path, trainer__threads=3, data__loader__workers=2)
    assert SlurmOptions(gpus=0).parameters([small])["cpus_per_task"] == 1
    parameters = SlurmOptions(gpus=0).parameters([small, large])
    assert (parameters["cpus_per_task"], parameters["srun_args"]) == (5, ["--cpus-per-task=5"])
    assert SlurmOptions(gpus=0, cpus=7).parameters([large])["cpus_per_task"] == 7


def test_options_are_passed_on_to_sbatch(tmp_path: Path) -> None:
    """Breaks if an account, a memory or a setup is lost, or jobs cannot be queued again."""
    options = SlurmOptions(
        partition="cpu", timeout=30, gpus=0, memory="8G", jobs=3, setup=["module load x"],
        sbatch={"account": "group"},
    )  # fmt: skip
    parameters = options.parameters([request(tmp_path)])
    assert parameters["additional_parameters"] == {
        "requeue": True,
        "account": "group",
        "mem": "8G",
    }
    assert (parameters["time"], parameters["array_parallelism"]) == (30, 3)
    assert parameters["setup"] == ["module load x"]
    assert (parameters["partition"], parameters["signal_delay_s"]) == ("cpu", 90)
    assert SlurmOptions(timeout=1).common()["signal_delay_s"] == 20


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"timeout": 0}, "hydra.launcher.timeout must be a whole number of at least 1; found 0."),
        ({"retries": -1}, "hydra.launcher.retries must be a whole number of at least 0; found -1."),
        ({"gpus": "all"}, "hydra.launcher.gpus must be auto or a whole number of at least 0; found 'all'."),
        ({"cpus": 0}, "hydra.launcher.cpus must be auto or a whole number of at least 1; found 0."),
        ({"jobs": 1.5}, "hydra.launcher.jobs must be null or a whole number of at least 1; found 1.5."),
        (
            {"setup": "module load x"},
            "hydra.launcher.setup must be a list of lines of shell, as ['module load cuda']; found 'module load x'.",
        ),
        (
            {"sbatch": ["qos=low"]},
            "hydra.launcher.sbatch must be options of sbatch and their values, as {account: my_group}; found ['qos=low'].",
        ),
        (
            {"partitions": "a100"},
            "hydra.launcher.partitions is not an option of hydra/launcher=slurm; did you mean 'partition'? allowed: cpus, gpus, jobs, memory, partition, retries, sbatch, setup, timeout.",
        ),
    ],
)  # fmt: skip
def test_a_wrong_option_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    """Breaks if Slurm or submitit words the error, hundreds of lines later."""
    with pytest.raises(ConfigError) as error:
        SlurmLauncher(**options)
    assert str(error.value) == sentence


def test_without_submitit_there_is_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Breaks if a missing package is a traceback."""
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError) as error:
        SlurmLauncher()
    assert "pip install 'mtl-runner[slurm]'" in str(error.value)
    assert str(error.value).startswith("hydra/launcher=slurm needs submitit")


def test_without_slurm_it_says_where_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a laptop without Slurm gets a traceback."""
    pytest.importorskip("submitit", reason="needs submitit: pip install 'mtl-runner[slurm]'")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError) as error:
        SlurmLauncher()
    assert str(error.value) == (
        "hydra/launcher=slurm needs the command sbatch of Slurm, which this machine does not have; start it on a login node of the cluster."
    )
