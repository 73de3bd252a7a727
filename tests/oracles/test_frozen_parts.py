"""Parts of a model that are frozen in the first steps of a run, under every family of updates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build
from mtl_runner.models.frozen_parts import FrozenParts
from mtl_runner.tasks.task import Task
from mtl_runner.train.stack.eligibility import reason_not_to_stack
from mtl_runner.train.trainer import Trainer
from tests.oracles.methods import runs
from tests.oracles.methods.runs import finish, start, stop_after
from tests.support.builders import assert_same_bits

DATA = (
    "data=toy_mixed",
    "data.n=90",
    "data.n_val=40",
    "data.n_test=40",
    "data.batch_size=30",
    "trainer.epochs=4",
    "trainer.device=cpu",
    "trainer.clip=1.0",
    "trainer.ema=0.9",
    "record.plots=none",
    "optimizer.lr=0.01",
    "optimizer.weight_decay=0.1",
)
STEPS_PER_EPOCH = 3
FAMILIES = {
    "joint": ("weighting=fixed",),
    "sgd": ("weighting=fixed", "optimizer=sgd", "optimizer.momentum=0.9"),
    "adamw": ("weighting=uncertainty", "optimizer=adamw"),
    "groups": ("weighting=fixed", "update.groups.shared.lr=0.02"),
    "parts": ("weighting=fixed", "optimizer.parts.shared.lr=0.02"),
    "gradnorm": ("weighting=gradnorm",),
    "famo": ("weighting=famo",),
    "conflicts": ("weighting=fixed", "record.gradients=true"),
    "staged": ("weighting=fixed", "schedule=staged", "schedule.start.label=1"),
    "accumulate": ("weighting=uncertainty", "trainer.accumulate=2"),
    "homoscedastic": ("weighting=fixed", "likelihood=homoscedastic"),
    "heteroscedastic": ("weighting=fixed", "likelihood=heteroscedastic"),
    "single_task": ("weighting=single_task",),
    "per_task": ("weighting=fixed", "update=per_task"),
    "per_task_adamw": ("weighting=fixed", "update=per_task", "optimizer=adamw"),
    "fresh": ("weighting=fixed", "update=per_task", "update.gradients=fresh"),
    "adatask": ("weighting=fixed", "update=adatask"),
    "adatask_adamw": ("weighting=fixed", "update=adatask", "optimizer=adamw"),
    "upgrad": ("weighting=upgrad",),
    "pcgrad": ("weighting=pcgrad",),
    "graddrop": ("weighting=graddrop",),
    "gradvac": ("weighting=gradvac",),
    "excess_mtl": ("weighting=excess_mtl",),
    "config": ("weighting=config",),
    "moco": ("weighting=moco",),
}

NEED_TORCHJD = ("upgrad", "pcgrad", "graddrop", "gradvac", "excess_mtl", "config")
QUICK = ("joint", "accumulate", "fresh", "adatask", "upgrad")
# Those whose state is another while a part is frozen.
STATEFUL = (
    "joint",
    "groups",
    "gradnorm",
    "accumulate",
    "fresh",
    "adatask",
    "upgrad",
    "excess_mtl",
    "moco",
)


class Layers(nn.Module):
    """A first layer with normalization, a second one, and a head for each task.

    Args:
        tasks: The tasks.
        input_shape: Shape of one row.
        freeze: Names of the parts that are frozen.
        until: When they begin to train; None: never.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        freeze: Sequence[str] = (),
        until: Any = None,
    ) -> None:
        super().__init__()
        self.frozen = FrozenParts([])
        self.names = [task.name for task in tasks]
        self.first = nn.Sequential(nn.Linear(input_shape[0], 8), nn.BatchNorm1d(8), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(6, task.size) for task in tasks)
        self.frozen = FrozenParts([getattr(self, name) for name in freeze], until)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.second(self.first(inputs))
        return {n: head(features) for n, head in zip(self.names, self.heads, strict=True)}

    def train(self, mode: bool = True) -> Layers:
        super().train(mode)
        self.frozen.keep_in_evaluation()
        return self


def prepare(directory: Path, *options: str, freeze: Sequence[str], until: Any) -> Path:
    """Make the directory of a run whose model is frozen in part."""
    runs.prepare(directory, *DATA, *options)
    config = OmegaConf.load(directory / "config.yaml")
    target = f"{__name__}.Layers"
    config.model = {"_target_": target, "freeze": list(freeze), "until": until}
    OmegaConf.save(config, directory / "config.yaml")
    return directory


def part(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the weights and statistics of a part of the model, or of each copy of it."""
    return {key: tensor for key, tensor in state.items() if name in key.split(".")}


def states_by_epoch(trainer: Trainer) -> list[dict[str, Tensor]]:
    """Train; return the state of the model and of its average at the start and after each epoch."""
    assert trainer.average is not None
    models = {"trained": trainer.learner.model, "average": trainer.average.model}

    def state() -> dict[str, Tensor]:
        return {
            f"{key}.{name}": tensor.clone()
            for key, model in models.items()
            for name, tensor in model.state_dict().items()
        }

    states = [state()]
    trainer.on_epoch = lambda epoch, objective: states.append(state())
    trainer.run()
    return states


def some_quickly(families: Iterable[str]) -> list[Any]:
    """Return families as parameters of a test, all but the quick ones marked ``long``."""
    return [f if f in QUICK else pytest.param(f, marks=pytest.mark.long) for f in families]


@pytest.fixture(params=some_quickly(FAMILIES))
def family(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of a family of methods."""
    if request.param in NEED_TORCHJD:
        pytest.importorskip("torchjd")
    return FAMILIES[request.param]


@pytest.mark.parametrize("freeze", [["first"], ["first", "second"]], ids=["first", "trunk"])
def test_frozen_parts_stand_still_and_then_move(
    family: tuple[str, ...], freeze: list[str], tmp_path: Path
) -> None:
    """Breaks if weight decay, momentum, an average or a batch moves a part that is frozen."""
    trainer = start(prepare(tmp_path / "run", *family, freeze=freeze, until="2 epochs"))
    states = states_by_epoch(trainer)
    assert len(states) == 5
    for name in freeze:
        first = part(states[0], name)
        assert first
        for state in states[1:3]:
            assert all(torch.equal(part(state, name)[key], first[key]) for key in first)
        moved = part(states[3], name)
        assert all((moved[key] != first[key]).any() for key in first)
    free = part(states[0], "heads")
    assert any((part(states[1], "heads")[key] != free[key]).any() for key in free)
    # Statistics move again, too.
    assert trainer.learner.model.training
    assert all(module.training for module in trainer.learner.model.modules())


def test_a_run_that_is_frozen_to_the_end_is_one_that_is_frozen(
    family: tuple[str, ...], tmp_path: Path
) -> None:
    """Breaks if a part that waits counts where a frozen one does not, e.g. in a Gramian."""
    waiting, frozen = (
        prepare(tmp_path / str(until), *family, freeze=["first"], until=until)
        for until in ("100%", None)
    )
    states = [states_by_epoch(start(directory)) for directory in (waiting, frozen)]
    for pair in zip(*states, strict=True):
        assert_same_bits(*pair)
    metrics = [(directory / "metrics.csv").read_bytes() for directory in (waiting, frozen)]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("family", ["joint", "per_task", "adatask", "upgrad", "graddrop"])
def test_a_trunk_that_is_frozen_to_the_end_is_one_that_is_frozen(
    family: str, tmp_path: Path
) -> None:
    """Breaks if an update cannot do without any shared parameter for a time."""
    if family in NEED_TORCHJD:
        pytest.importorskip("torchjd")
    both = ["first", "second"]
    metrics = [
        finish(prepare(tmp_path / str(until), *FAMILIES[family], freeze=both, until=until))[0]
        for until in (4, None)
    ]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("epoch", [1, 3], ids=["inside", "after"])
@pytest.mark.parametrize("family", some_quickly(STATEFUL))
def test_a_stopped_run_goes_on_to_the_same_bytes(family: str, epoch: int, tmp_path: Path) -> None:
    """Breaks if a resumed run is not frozen, is frozen again, or starts another clock anew."""
    if family in NEED_TORCHJD:
        pytest.importorskip("torchjd")
    uninterrupted, stopped = (
        prepare(tmp_path / name, *FAMILIES[family], freeze=["first"], until="50%")
        for name in ("uninterrupted", "stopped")
    )
    expected = finish(uninterrupted)
    stop_after(stopped, epoch)
    assert finish(stopped) == expected


@pytest.mark.parametrize("family", ["joint", "per_task", "fresh", "adatask", "upgrad"])
def test_the_first_step_of_a_part_is_the_first_step_of_its_clock(
    family: str, tmp_path: Path
) -> None:
    """Breaks if a part begins with the clock of the others, which would make long first steps.

    Adam's first step is the learning rate, up or down, for each optimizer that takes it.
    """
    if family in NEED_TORCHJD:
        pytest.importorskip("torchjd")
    steps = 3 * STEPS_PER_EPOCH - 1
    constant = ("optimizer.weight_decay=0", "optimizer.eps=1e-30", "trainer.lr_scheduler=null")
    options = (*FAMILIES[family], *constant)
    directory = prepare(tmp_path / "run", *options, freeze=["first"], until=f"{steps} steps")
    states = states_by_epoch(start(directory))
    change = (states[3]["trained.first.0.weight"] - states[2]["trained.first.0.weight"]) / 0.01
    largest = 1 if family in ("joint", "upgrad") else 2
    assert change.abs().max().item() == pytest.approx(largest, rel=1e-4)
    assert torch.allclose(change, change.round(), atol=1e-3)


def test_patience_counts_from_the_step_at_which_the_last_part_trains(tmp_path: Path) -> None:
    """Breaks if a run ends before the part that it waits for has begun to train."""
    options = ("weighting=fixed", "trainer.patience=1", "trainer.epochs=6", "optimizer.lr=1e-30")
    directory = prepare(tmp_path / "run", *options, freeze=["first"], until="50%")
    trainer = start(directory)
    trainer.run()
    assert trainer.epoch >= 4
    plain = start(prepare(tmp_path / "plain", *options, freeze=["first"], until=None))
    plain.run()
    assert plain.epoch < 4


def test_a_run_with_such_a_part_is_not_stacked(tmp_path: Path) -> None:
    """Breaks if a stack trains a part that is to be frozen."""
    directory = prepare(tmp_path / "run", "weighting=fixed", freeze=["first"], until=1)
    config = OmegaConf.load(directory / "config.yaml")
    OmegaConf.update(config, "trainer.ema", None)
    assert "model.freeze" in reason_not_to_stack(build(config))  # type: ignore[arg-type]


def test_a_wrong_time_is_said(tmp_path: Path) -> None:
    """Breaks if a typing mistake freezes for another time."""
    directory = prepare(tmp_path / "run", "weighting=fixed", freeze=["first"], until="soon")
    with pytest.raises(ConfigError) as error:
        start(directory)
    assert (
        str(error.value)
        == "model.freeze.until='soon' is not a time; write epochs (200), steps ('1000 steps') or a share of the run ('25%')."
    )
