"""How many devices a run has, and how torchrun's processes learn of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtl_runner.compat.torch_stores import private_store
from mtl_runner.errors import ConfigError
from mtl_runner.gradients.ranks import Ranks
from mtl_runner.runs import devices
from mtl_runner.runs.devices import TORCHRUN, Torchrun, count_devices
from mtl_runner.runs.request import Outcome, Request
from tests.oracles.methods.runs import compose


def request_for(*options: str) -> Request:
    """Return a request for a run."""
    return Request(compose(*options).copy(), Path("run"))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ((), 1),
        (("trainer.devices=3", "trainer.device=cpu"), 3),
        (("trainer.devices=auto", "trainer.device=cpu"), 1),
    ],
)
def test_a_cpu_is_shared_by_as_many_as_are_asked_for(options: tuple[str, ...], count: int) -> None:
    """Breaks if `auto` starts processes on a machine without a GPU."""
    assert count_devices(request_for(*options)) == count


def test_more_devices_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a process asks for a GPU that is not there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert count_devices(request_for("trainer.devices=auto")) == 2
    assert count_devices(request_for("trainer.devices=2")) == 2
    with pytest.raises(ConfigError) as error:
        count_devices(request_for("trainer.devices=4"))
    assert str(error.value) == (
        "trainer.devices=4, but this machine has 2 GPUs; use auto, or trainer.device=cpu."
    )


def test_torchrun_is_known_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a single process waits for others, or one of many does not."""
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    assert Torchrun.of_environment() is None
    for name, value in zip(TORCHRUN, ("1", "4", "1", "2", "localhost", "29500"), strict=True):
        monkeypatch.setenv(name, value)
    launched = Torchrun.of_environment()
    assert launched is not None
    assert (launched.rank, launched.size, launched.local_rank) == (1, 4, 1)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Torchrun.of_environment() is None


def test_a_launcher_under_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if each job of a launcher takes itself for the first process of torchrun."""
    monkeypatch.setattr(devices, "_torchrun", None)
    for name, value in zip(TORCHRUN, ("0", "2", "0", "2", "localhost", "29500"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(devices.STARTED, "1")
    with pytest.raises(ConfigError) as error:
        devices.torchrun()
    assert str(error.value) == (
        "torchrun shares out one run after another, so a launcher cannot start several of them; "
        "leave out hydra/launcher, or leave out torchrun and set trainer.devices."
    )
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert devices.torchrun() is None


def test_the_first_process_tells_the_others_which_run_is_next() -> None:
    """Breaks if a process trains another run, or waits after the last one."""
    store = private_store()
    first, second = (Torchrun(rank, 2, rank, 2, _store=store) for rank in range(2))
    for seed in (1, 2):
        first.tell(first.with_devices(request_for(f"seed={seed}")))
    first.end()
    seen: list[tuple[int, int, int]] = []

    def train(request: Request, ranks: Ranks) -> Outcome:
        seen.append((request.config.seed, request.config.trainer.devices, ranks.rank))
        return Outcome()

    second.follow(train)
    assert seen == [(1, 2, 1), (2, 2, 1)]


def test_another_number_than_torchruns_is_refused() -> None:
    """Breaks if a run records a number of devices that it did not have."""
    launched = Torchrun(0, 2, 0, 2)
    with pytest.raises(ConfigError) as error:
        launched.with_devices(request_for("trainer.devices=4"))
    assert str(error.value) == (
        "trainer.devices=4, but torchrun has started 2 processes; leave trainer.devices out."
    )
