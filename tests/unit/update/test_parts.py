"""``optimizer.parts``: settings of single parts of the model, under every update."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build
from mtl_runner.train.advice import lessons_of_setup
from mtl_runner.train.trainer import Trainer
from tests.oracles.methods.runs import compose
from tests.support.builders import near

pytestmark = pytest.mark.usefixtures("float64")

DATA = ("data=toy_mixed", "model=mlp", "model.hidden=[6]", "weighting=fixed", "data.n=40", "data.batch_size=40", "trainer.epochs=6",
        "trainer.lr_scheduler=null", "optimizer.lr=0.01")  # fmt: skip
STEPS = 6
UPDATES = {
    "joint": ("update=joint",),
    "per_task": ("update=per_task",),
    "adatask": ("update=adatask",),
    "jacobian": ("update=jacobian", "update.aggregator=sum"),
}


def trained(*overrides: str, folder: Path) -> dict[str, Tensor]:
    """The parameters after six steps on the whole split."""
    experiment = build(compose(*DATA, *overrides))
    Trainer(experiment, folder).run()
    return {name: p.detach().clone() for name, p in experiment.learner.model.named_parameters()}


Make = Callable[[list[nn.Parameter], bool], torch.optim.Optimizer]


def by_hand(make: Make, *, together: bool) -> dict[str, Tensor]:
    """Two hand-made optimizers, of the trunk and of the heads; or two for each task, whose gradients are taken at one point."""
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
            own = [*shared, *(p for t in group for p in heads[t])]
            gradients.append(
                (own, torch.autograd.grad(sum(losses[t] for t in group), own, retain_graph=True))
            )
        for pair, (own, found) in zip(optimizers, gradients, strict=True):
            for p in model.parameters():
                p.grad = None
            for p, gradient in zip(own, found, strict=True):
                p.grad = gradient
            for optimizer in pair:
                optimizer.step()
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def adam(params: list[nn.Parameter], shared: bool) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, lr=0.001 if shared else 0.01)


@pytest.mark.parametrize("update", UPDATES)
def test_a_part_has_its_own_learning_rate_under_every_update(update: str, tmp_path: Path) -> None:
    """Breaks if the trunk of a pretrained model cannot be trained more slowly than the heads."""
    found = trained(*UPDATES[update], "optimizer.parts.shared.lr=0.001", folder=tmp_path)
    near(found, by_hand(adam, together=update in ("joint", "jacobian")), 1e-9)


@pytest.mark.parametrize("update", UPDATES)
def test_a_part_without_settings_changes_nothing(update: str, tmp_path: Path) -> None:
    """Breaks if dealing parameters out to groups is more than rounding."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = trained(*UPDATES[update], folder=tmp_path / "a")
    near(
        trained(*UPDATES[update], "optimizer.parts.shared.lr=0.01", folder=tmp_path / "b"),
        plain,
        1e-12,
    )


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("update", ["joint", "per_task"])
def test_a_part_has_its_own_weight_decay(update: str, optimizer: str, tmp_path: Path) -> None:
    """Breaks if a head that must not decay does, or decay acts once per task on what tasks share."""
    kind: Any = torch.optim.Adam if optimizer == "adam" else torch.optim.AdamW
    found = trained(
        f"optimizer={optimizer}", f"update={update}", "optimizer.weight_decay=0.3", "optimizer.parts.value.weight_decay=0",
        "optimizer.parts.label.weight_decay=0", "optimizer.lr=0.01", folder=tmp_path,
    )  # fmt: skip

    def make(params: list[nn.Parameter], shared: bool) -> torch.optim.Optimizer:
        return kind(params, lr=0.01, weight_decay=0.3 if shared else 0.0)

    if update == "joint":
        near(found, by_hand(make, together=True), 1e-9)
        return
    plain = trained(
        f"optimizer={optimizer}",
        f"update={update}",
        "optimizer.weight_decay=0",
        "optimizer.lr=0.01",
        folder=_sub(tmp_path),
    )
    trunk = [name for name in plain if name.startswith("trunk") and plain[name].dim() > 1]
    assert all(found[name].norm() < plain[name].norm() for name in trunk), (
        "the shared weights decay"
    )
    whole = trained(
        f"optimizer={optimizer}",
        f"update={update}",
        "optimizer.weight_decay=0.3",
        "optimizer.lr=0.01",
        folder=_sub(tmp_path),
    )
    heads = [name for name in plain if name.startswith("heads") and plain[name].dim() > 1]
    assert any((found[name] - whole[name]).norm() > 1e-4 for name in heads), "the heads do not"


def _sub(folder: Path) -> Path:
    made = folder / str(len(list(folder.iterdir())))
    made.mkdir()
    return made


def test_update_groups_of_joint_say_the_same(tmp_path: Path) -> None:
    """Breaks if the alias and the key part."""
    groups = trained("update.groups={shared: {lr: 0.001}}", folder=_sub(tmp_path))
    near(groups, trained("optimizer.parts.shared.lr=0.001", folder=_sub(tmp_path)), 1e-12)


def test_a_schedule_keeps_the_proportion(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optimizer.parts={trunk: {lr: 1}}", "optimizer.parts names 'trunk', which is no part of the model; allowed: label, shared, value."),
        ("optimizer.parts={shared: 0.1}", "optimizer.parts.shared must be settings such as {lr: 0.01}; found 0.1."),
        ("optimizer.parts=0.1", "optimizer.parts must be {shared: {lr: 0.001}, <task>: {lr: 0.01}}; found 0.1."),
        ("optimizer.parts={shared: {lrr: 1}}", "optimizer.parts.shared.lrr is not an option of Adam; did you mean 'lr'? allowed: amsgrad, betas, capturable, decoupled_weight_decay, differentiable, eps, foreach, fused, lr, maximize, weight_decay."),
        ("optimizer.parts={shared: {lr: -0.01}}", "optimizer.parts.shared: torch.optim.Adam refuses its options (lr=-0.01): Invalid learning rate: -0.01."),
        ("optimizer.parts={value: {lr: abc}}", "optimizer.parts.value: torch.optim.Adam refuses its options (lr='abc'): '<=' not supported between instances of 'float' and 'str'."),
    ],
)  # fmt: skip
def test_wrong_parts_are_one_sentence(override: str, sentence: str) -> None:
    """Breaks if a typing mistake leaves a part at the optimizer's settings, without a word."""
    with pytest.raises(ConfigError) as error:
        build(compose(*DATA, override))
    assert str(error.value) == sentence


DECOUPLED = "optimizer.parts={shared: {decoupled_weight_decay: true, weight_decay: 0.1}, value: {weight_decay: 0.1}}"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("update=adatask", "optimizer.parts={shared: {amsgrad: true}}"), "update=adatask does not know the optimizer's option 'amsgrad'; leave it at its default."),
        (("update=per_task", DECOUPLED), "optimizer.parts: decoupled_weight_decay must be the same for all parts that have a weight_decay."),
    ],
)  # fmt: skip
def test_an_option_of_a_part_counts_as_one_of_the_optimizer(
    overrides: tuple[str, ...], sentence: str
) -> None:
    """Breaks if what an update cannot do for a part is left out, without a word."""
    with pytest.raises(ConfigError) as error:
        build(compose(*DATA, *overrides))
    assert str(error.value) == sentence


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_lesson_on_fixed_weights_knows_the_decay_of_a_part(decay: float) -> None:
    """Breaks if weights are said to have no effect where an L2 term of one part gives them one."""
    experiment = build(
        compose(
            *DATA,
            "update=per_task",
            "weighting.weights={value: 3}",
            f"optimizer.parts.shared.weight_decay={decay}",
        )
    )
    found = [lesson for lesson in lessons_of_setup(experiment) if "have no effect" in lesson]
    assert bool(found) is (decay == 0)


def test_a_part_has_one_home() -> None:
    """Breaks if one of two settings of a part is ignored."""
    with pytest.raises(ConfigError) as error:
        build(
            compose(*DATA, "optimizer.parts.shared.lr=0.001", "update.groups={shared: {lr: 0.1}}")
        )
    assert (
        str(error.value)
        == "optimizer.parts.shared and update.groups.shared both set the optimizer of one part; keep one of them."
    )


def test_without_shared_parameters_the_sentence_says_so() -> None:
    """Breaks if a setting for nothing is ignored."""
    with pytest.raises(
        ConfigError,
        match=r"^optimizer\.parts\.shared is empty: no parameter is shared by two tasks; leave it out\.$",
    ):
        build(
            compose(
                *DATA, "model=separate_mlps", "model.hidden=[4]", "optimizer.parts.shared.lr=0.001"
            )
        )
