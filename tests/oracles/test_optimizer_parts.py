"""Training with settings of the optimizer for single parts of the model, under every update."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.experiment.build import build
from mtl_runner.train.advice import advice_on_setup
from mtl_runner.train.trainer import Trainer
from tests.oracles.methods.runs import compose
from tests.support.builders import assert_near

pytestmark = pytest.mark.usefixtures("float64")

DATA = (
    "data=toy_mixed",
    "data.n=40",
    "data.batch_size=40",
    "model=mlp",
    "model.hidden=[6]",
    "weighting=fixed",
    "optimizer.lr=0.01",
    "trainer.epochs=6",
    "trainer.lr_scheduler=null",
)
STEPS = 6
UPDATES = {
    "joint": ("update=joint",),
    "per_task": ("update=per_task",),
    "adatask": ("update=adatask",),
    "jacobian": ("update=jacobian", "update.aggregator=sum"),
}


def trained(*overrides: str, folder: Path) -> dict[str, Tensor]:
    """Return the parameters after six steps on the whole split."""
    experiment = build(compose(*DATA, *overrides))
    Trainer(experiment, folder).run()
    return {name: p.detach().clone() for name, p in experiment.learner.model.named_parameters()}


Make = Callable[[list[nn.Parameter], bool], torch.optim.Optimizer]


def by_hand(make: Make, *, together: bool) -> dict[str, Tensor]:
    """Return the parameters after six steps of optimizers for trunk and heads that are made here.

    With ``together`` there are two in all, else two per task, with gradients at the same point.
    """
    experiment = build(compose(*DATA))
    model, likelihood, train = (
        experiment.learner.model,
        experiment.learner.likelihood,
        experiment.data.splits["train"],
    )
    shared, heads = (
        list(model.trunk.parameters()),
        [list(head.parameters()) for head in model.heads],
    )
    groups = [[0, 1]] if together else [[0], [1]]
    optimizers = [
        [make(shared, True), make([p for t in group for p in heads[t]], False)] for group in groups
    ]
    for _ in range(STEPS):
        losses = likelihood.losses(model(train.inputs), train.targets)
        gradients = []
        for group in groups:
            block = [*shared, *(p for t in group for p in heads[t])]
            group_loss = sum(losses[t] for t in group)
            gradients.append((block, torch.autograd.grad(group_loss, block, retain_graph=True)))
        for pair, (block, block_gradients) in zip(optimizers, gradients, strict=True):
            for p in model.parameters():
                p.grad = None
            for p, gradient in zip(block, block_gradients, strict=True):
                p.grad = gradient
            for optimizer in pair:
                optimizer.step()
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def adam(params: list[nn.Parameter], shared: bool) -> torch.optim.Optimizer:
    """Return an Adam that is slower for shared parameters."""
    return torch.optim.Adam(params, lr=0.001 if shared else 0.01)


@pytest.mark.parametrize("update", UPDATES)
def test_a_part_has_its_own_learning_rate_under_every_update(update: str, tmp_path: Path) -> None:
    """Breaks if the trunk of a pretrained model cannot be trained more slowly than the heads."""
    parameters = trained(*UPDATES[update], "optimizer.parts.shared.lr=0.001", folder=tmp_path)
    assert_near(parameters, by_hand(adam, together=update in ("joint", "jacobian")), 1e-9)


@pytest.mark.parametrize("update", UPDATES)
def test_a_part_without_settings_changes_nothing(update: str, tmp_path: Path) -> None:
    """Breaks if sorting the parameters into groups changes a run by more than rounding."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = trained(*UPDATES[update], folder=tmp_path / "a")
    assert_near(
        trained(*UPDATES[update], "optimizer.parts.shared.lr=0.01", folder=tmp_path / "b"),
        plain,
        1e-12,
    )


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("update", ["joint", "per_task"])
def test_a_part_has_its_own_weight_decay(update: str, optimizer: str, tmp_path: Path) -> None:
    """Breaks if a head that must not decay does, or shared parameters decay once per task."""
    kind: Any = torch.optim.Adam if optimizer == "adam" else torch.optim.AdamW
    with_settings = trained(
        f"optimizer={optimizer}",
        f"update={update}",
        "optimizer.weight_decay=0.3",
        "optimizer.parts.value.weight_decay=0",
        "optimizer.parts.label.weight_decay=0",
        "optimizer.lr=0.01",
        folder=tmp_path,
    )

    def make(params: list[nn.Parameter], shared: bool) -> torch.optim.Optimizer:
        return kind(params, lr=0.01, weight_decay=0.3 if shared else 0.0)

    if update == "joint":
        assert_near(with_settings, by_hand(make, together=True), 1e-9)
        return
    plain = trained(
        f"optimizer={optimizer}",
        f"update={update}",
        "optimizer.weight_decay=0",
        "optimizer.lr=0.01",
        folder=_new_folder(tmp_path),
    )
    trunk = [name for name in plain if name.startswith("trunk") and plain[name].dim() > 1]
    assert all(with_settings[name].norm() < plain[name].norm() for name in trunk), (
        "the shared weights decay"
    )
    without_settings = trained(
        f"optimizer={optimizer}",
        f"update={update}",
        "optimizer.weight_decay=0.3",
        "optimizer.lr=0.01",
        folder=_new_folder(tmp_path),
    )
    heads = [name for name in plain if name.startswith("heads") and plain[name].dim() > 1]
    moved = [(with_settings[name] - without_settings[name]).norm() for name in heads]
    assert max(moved) > 1e-4, "the heads do not"


def _new_folder(folder: Path) -> Path:
    new_folder = folder / str(len(list(folder.iterdir())))
    new_folder.mkdir()
    return new_folder


def test_update_groups_of_joint_train_the_same(tmp_path: Path) -> None:
    """Breaks if ``update.groups`` under joint is not an alias of ``optimizer.parts``."""
    groups = trained("update.groups={shared: {lr: 0.001}}", folder=_new_folder(tmp_path))
    assert_near(
        groups, trained("optimizer.parts.shared.lr=0.001", folder=_new_folder(tmp_path)), 1e-12
    )


def test_a_learning_rate_schedule_keeps_the_proportion(tmp_path: Path) -> None:
    """Breaks if a learning-rate schedule sets all parts to one rate."""
    experiment = build(
        compose(*DATA, "trainer.lr_scheduler=cosine", "optimizer.parts.shared.lr=0.001")
    )
    Trainer(experiment, tmp_path).run()
    rates = {
        group["lr"] / group["initial_lr"]
        for o in experiment.learner.update.optimizers
        for group in o.param_groups
    }
    assert max(rates) - min(rates) < 1e-12


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_advice_on_fixed_weights_depends_on_the_decay_of_a_part(decay: float) -> None:
    """Breaks if weights are said to have no effect where an L2 term of one part gives them one."""
    experiment = build(
        compose(
            *DATA,
            "update=per_task",
            "weighting.weights={value: 3}",
            f"optimizer.parts.shared.weight_decay={decay}",
        )
    )
    advice = [sentence for sentence in advice_on_setup(experiment) if "have no effect" in sentence]
    assert bool(advice) is (decay == 0)
