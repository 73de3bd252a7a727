"""The launcher ``gpus``: what it gives each job; what the jobs do with it is in tests/cli."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from mtl_runner.errors import ConfigError
from mtl_runner.launch.gpus_launcher import GpusLauncher, _devices, _gpus, enqueue_all, usable_cores
from mtl_runner.runs.request import Request
from tests.unit.runs.small_runs import tiny_request


def request(tmp_path: Path, **trainer: object) -> Request:
    """Return a request with these options of the trainer."""
    made = tiny_request(tmp_path)
    for key, value in trainer.items():
        OmegaConf.update(made.config, f"trainer.{key}", value, force_add=True)
    return made


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which torch finds four GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.usefixtures("four_gpus")
def test_all_gpus_are_taken_unless_no_job_wants_one(tmp_path: Path) -> None:
    """Breaks if GPUs idle, or jobs that train on the CPU queue for GPUs."""
    on_any, on_cpu = (request(tmp_path, device=device) for device in ("auto", "cpu"))
    assert _gpus([on_any, on_cpu]) == ["0", "1", "2", "3"]
    assert _gpus([on_cpu]) == []


@pytest.mark.usefixtures("four_gpus")
def test_gpus_that_the_user_names_are_the_only_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a sweep takes the GPUs of somebody else."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-8f3a")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _gpus([request(tmp_path, device="cuda")]) == ["2", "GPU-8f3a"]


def test_a_job_takes_as_many_devices_as_it_asks_for(tmp_path: Path) -> None:
    """Breaks if trainer.devices is ignored by the queue."""
    assert _devices(request(tmp_path, devices=2), gpus=4, places=4) == 2
    assert _devices(request(tmp_path, devices="auto"), gpus=4, places=4) == 4
    assert _devices(request(tmp_path, devices=8), gpus=0, places=2) == 2
    assert _devices(request(tmp_path, devices="many"), gpus=4, places=4) == 1
    with pytest.raises(ConfigError) as error:
        _devices(request(tmp_path, devices=8), gpus=4, places=4)
    assert str(error.value) == (
        "trainer.devices=8 asks for more GPUs than this machine has (4); lower it."
    )


def test_a_directory_that_is_taken_costs_its_own_job_only(tmp_path: Path) -> None:
    """Breaks if one foreign file in the sweep's directory stops the sweep."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "metrics.csv").write_text("precious")
    ended = enqueue_all({number: tiny_request(tmp_path / str(number)) for number in range(3)})
    assert list(ended) == [1]
    assert "already holds a metrics.csv of unknown origin" in str(ended[1])


def test_there_is_a_core() -> None:
    """Breaks if a container without a core list gets no job at all."""
    assert usable_cores() >= 1
    assert GpusLauncher().jobs == "auto"
