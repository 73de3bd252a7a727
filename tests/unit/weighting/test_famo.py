"""FAMO: its weights, how its logits move, and that its second forward pass leaves no trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.train.epoch_record import EpochBuffer
from mtl_runner.update import Joint, PerTask, Update
from mtl_runner.weighting import FAMO, Fixed, Weighting
from tests.support.builders import (
    INPUTS,
    NO_DATA,
    QUICK,
    SGD,
    Adam,
    Point,
    assert_near,
    assert_same_bits,
    copy_state,
    losses_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    make_terms,
    only_active,
    train,
)

pytestmark = pytest.mark.usefixtures("float64")

TASKS = make_tasks(a="regression", b="classification", c="regression_l1")
numbers = st.lists(st.floats(-2, 2), min_size=3, max_size=3)
positive = st.lists(st.floats(0.01, 100), min_size=3, max_size=3)


def set_logits(weighting: FAMO, values: Sequence[float]) -> None:
    """Set the logits of all tasks."""
    with torch.no_grad():
        for parameter, value in zip(weighting.logits, values, strict=True):
            parameter.fill_(value)


def logits(weighting: FAMO) -> Tensor:
    """Return a copy of all logits."""
    return torch.stack([p.detach().clone() for p in weighting.logits])


# The published algorithm


@QUICK
@given(start=numbers, losses=positive)
def test_the_weights_are_those_of_the_published_objective(
    start: list[float], losses: list[float]
) -> None:
    """Breaks if the weights are not c z / L, do not sum to 1, or the gradient flows through c."""
    weighting = FAMO(TASKS)
    set_logits(weighting, start)
    weights, objective = weighting.weigh(torch.tensor(losses))
    shares = [math.exp(x) / loss for x, loss in zip(start, losses, strict=True)]
    assert_near(weights, torch.tensor(shares) / sum(shares), 1e-12)
    assert weights.sum().item() == pytest.approx(1.0, abs=1e-14)
    total = sum(math.exp(x) for x in start)
    c = total / sum(shares)
    expected = c * sum(
        math.exp(x) / total * math.log(loss) for x, loss in zip(start, losses, strict=True)
    )
    assert objective.item() == pytest.approx(expected, abs=1e-12)
    # The objective itself trains no logit.
    assert [p.grad for p in weighting.parameters()] == [None] * 3


@QUICK
@given(start=numbers, before=positive, after=positive, gamma=st.sampled_from([0.0, 0.01, 1.0]))
def test_the_logits_follow_the_derivative_of_the_shares_times_the_progress(
    start: list[float], before: list[float], after: list[float], gamma: float
) -> None:
    """Breaks if the logits move by another gradient than the published one.

    It is d/d xi of sum softmax(xi)_t (log L before - log L after) + gamma/2 xi^2.
    """
    weighting = FAMO(TASKS, gamma=gamma)
    set_logits(weighting, start)
    weighting.observe_losses(torch.tensor(before), torch.tensor(after))
    xi = torch.tensor(start, requires_grad=True)
    progress = (torch.tensor(before) / torch.tensor(after)).log()
    objective = (xi.softmax(0) * progress).sum() + gamma / 2 * xi.square().sum()
    (expected,) = torch.autograd.grad(objective, xi)
    assert_near(torch.stack([p.grad for p in weighting.logits]), expected, 1e-12)


@pytest.mark.parametrize(("lr", "gamma"), [(0.025, 0.01), (0.3, 0.5)])
def test_a_run_is_torchjds(lr: float, gamma: float) -> None:
    """Breaks if weights, logits or model leave the path of TorchJD's FAMO."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    split = make_split(TASKS)
    weighting = FAMO(TASKS, lr=lr, gamma=gamma)
    learner = make_learner(TASKS, split, weighting=weighting, optimizer=Adam)
    history = train(learner, split, 40)

    # TorchJD adds 1e-8 to every loss; a lower bound of 1e-8 takes it away again.
    torchjd_famo = scalarization.FAMO(
        3, min_losses=torch.full((3,), 1e-8), lr=lr, weight_decay=gamma
    )
    model = make_mlp(TASKS)
    optimizer = Adam(model.parameters())
    for step in range(40):
        losses = losses_of(model, TASKS, split)
        objective = torchjd_famo(losses)
        assert_near(history.losses[step], losses.detach(), 1e-10)
        assert_near(history.objective[step], objective.detach(), 1e-10)
        assert_near(
            history.weights[step],
            torch.autograd.grad(objective, losses, retain_graph=True)[0],
            1e-10,
        )
        optimizer.zero_grad()
        objective.backward()
        optimizer.step()
        torchjd_famo.update(losses_of(model, TASKS, split))
    assert_near(logits(weighting), torchjd_famo._w.detach(), 1e-10)
    assert_near(copy_state(learner.model.state_dict()), copy_state(model.state_dict()), 1e-10)
    assert logits(weighting).abs().max() > 0.01


def test_without_progress_the_logits_only_decay() -> None:
    """Breaks if the decay is missing, or acts where there is nothing to decay."""
    weighting, same = FAMO(TASKS, gamma=0.01), torch.tensor([1.0, 2.0, 3.0])
    weighting.observe_losses(same, same)
    assert [p.grad.item() for p in weighting.logits] == [0, 0, 0]
    set_logits(weighting, [1.0, -2.0, 0.0])
    weighting.observe_losses(same, same)
    assert_near(
        torch.stack([p.grad for p in weighting.logits]), torch.tensor([0.01, -0.02, 0.0]), 1e-15
    )


def test_the_task_that_progresses_least_gets_more() -> None:
    """Breaks if the sign is turned and fast tasks get all the weight."""
    weighting = FAMO(TASKS)
    optimizers = OwnOptimizers(weighting, SGD)
    for _ in range(50):
        weighting.weigh(torch.ones(3))
        weighting.observe_losses(torch.ones(3), torch.tensor([0.5, 0.9, 1.1]))
        optimizers.step()
    weights = weighting.weigh(torch.ones(3))[0]
    assert weights[2] > weights[1] > weights[0]
    assert weights[0] < 0.2


def test_losses_of_very_different_size_fall_at_the_same_rate() -> None:
    """Breaks the method's purpose: a loss 10 000 times as small must not be left behind."""
    tasks = make_terms(
        a=lambda p: (p[0] - 1).square() + 1e-9, b=lambda p: 1e-4 * (p[1] - 1).square() + 1e-13
    )
    fallen = []
    # FAMO's weights sum to 1: longer steps.
    makers: list[tuple[type[Weighting], float]] = [
        (Fixed, 0.3),
        (FAMO, 300.0),
    ]
    for kind, lr in makers:
        optimizer = partial(torch.optim.SGD, lr=lr)
        learner = make_learner(
            tasks, NO_DATA, model=Point(0.0, 0.0), weighting=kind(tasks), optimizer=optimizer
        )
        history = train(learner, NO_DATA, 40)
        fallen.append((history.losses[-1] / history.losses[0]).tolist())
    assert fallen[0][0] < 1e-6
    assert fallen[0][1] > 0.99  # equal weights leave it where it was
    assert fallen[1][0] < 0.3
    assert fallen[1][1] == pytest.approx(fallen[1][0], rel=0.01)


def test_the_published_learning_rate_is_the_default() -> None:
    """Breaks if lr or gamma are not what the docs say: the published code has several defaults."""
    assert (FAMO(TASKS).lr, FAMO(TASKS).gamma) == (0.025, 0.01)
    weighting = FAMO(TASKS)
    optimizers = OwnOptimizers(weighting, SGD)
    weighting.weigh(torch.ones(3))
    weighting.observe_losses(torch.ones(3), torch.tensor([0.5, 1.0, 1.0]))
    optimizers.step()
    assert_near(logits(weighting), torch.tensor([-0.025, 0.025, 0.025]), 1e-6)  # Adam's first step


def test_a_negative_loss_stops_all_tasks() -> None:
    """Breaks the warning of negative losses, or if the logits become NaN."""
    weighting = FAMO(TASKS)
    losses = torch.tensor([-1.0, 0.5, 4.0])
    assert (weighting.weigh(losses)[0] < 1e-9).all()
    weighting.observe_losses(losses, losses)
    assert all(p.grad == 0 for p in weighting.logits)


def test_only_the_active_tasks_are_compared() -> None:
    """Breaks if an idle task's loss or share moves the others', or theirs its logit."""
    outcomes = []
    for garbage in (3.0, 1e9):
        weighting = FAMO(TASKS, gamma=0.1)
        set_logits(weighting, [0.5, garbage, -0.5])
        before, after = torch.tensor([1.0, garbage, 2.0]), torch.tensor([0.8, 0.1, 1.9])
        weights, objective = weighting.weigh(before, only_active(0, 2))
        assert weights[1] == 0
        assert weights.sum().item() == pytest.approx(1.0)
        weighting.observe_losses(before, after, only_active(0, 2))
        assert weighting.logits[1].grad is None
        outcomes.append(
            [
                *weights.tolist(),
                objective.item(),
                weighting.logits[0].grad.item(),
                weighting.logits[2].grad.item(),
            ]
        )
    assert outcomes[0] == outcomes[1]
    pair = FAMO([TASKS[0], TASKS[2]], gamma=0.1)
    with torch.no_grad():
        pair.logits[0].fill_(0.5)
        pair.logits[1].fill_(-0.5)
    pair.observe_losses(torch.tensor([1.0, 2.0]), torch.tensor([0.8, 1.9]))
    assert [p.grad.item() for p in pair.logits] == outcomes[0][4:]


def test_a_gradient_of_an_earlier_step_does_not_move_an_idle_task() -> None:
    """Breaks if a task that was active one step ago is stepped again on its old gradient."""
    split = make_split(TASKS)
    weighting = FAMO(TASKS)
    learner = make_learner(TASKS, split, weighting=weighting)
    learner.step(split, Active.all(3))
    before = logits(weighting)
    learner.step(split, Active((1.0, 0.0, 1.0)))
    assert (logits(weighting) == before).tolist() == [False, True, False]


# The second forward pass


class Noisy(nn.Module):
    """A model with BatchNorm and dropout, which notes what dropout let through in each pass."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(
            nn.Linear(INPUTS, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5)
        )
        self.heads = nn.ModuleDict({task.name: nn.Linear(8, task.size) for task in tasks})
        self.seen: list[Tensor] = []

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.trunk(inputs)
        self.seen.append(features.detach() == 0)
        return {name: head(features) for name, head in self.heads.items()}


def noisy(weighting: Weighting, update: type[Update] = Joint, lr: float = 0.1) -> Learner:
    """Return a learner of the model with BatchNorm and dropout."""
    model = Noisy(TASKS)
    optimizer = partial(torch.optim.SGD, lr=lr)
    learner = make_learner(
        TASKS,
        make_split(TASKS),
        model=model,
        weighting=weighting,
        optimizer=optimizer,
        update=update,
    )
    torch.manual_seed(1)
    model.seen.clear()
    return learner


def test_the_losses_are_computed_a_second_time_with_the_same_dropout() -> None:
    """Breaks if the change of a loss is that of another dropout mask, or is never measured."""
    learner = noisy(FAMO(TASKS))
    train(learner, make_split(TASKS), 4)
    masks = learner.model.seen
    assert len(masks) == 8
    for first, again in zip(masks[::2], masks[1::2], strict=True):
        assert torch.equal(first, again)
    assert not torch.equal(masks[0], masks[2])
    assert 0 < masks[0].double().mean() < 1


def test_a_model_that_does_not_move_shows_no_progress() -> None:
    """Breaks if dropout or BatchNorm's statistics change the losses between the two passes."""
    weighting = FAMO(TASKS)
    learner = noisy(weighting, lr=0.0)
    train(learner, make_split(TASKS), 5)
    assert logits(weighting).tolist() == [0, 0, 0]


@pytest.mark.parametrize("update", [Joint, PerTask])
def test_the_second_pass_leaves_statistics_and_random_stream_alone(update: type[Update]) -> None:
    """Breaks if FAMO's runs see other dropout masks, or BatchNorm counts every batch twice."""
    states = []
    for weighting in (Fixed(TASKS), FAMO(TASKS)):
        # The same model throughout, so that the statistics can be compared.
        learner = noisy(weighting, update, lr=0.0)
        history = train(learner, make_split(TASKS), 3)
        state = {
            **copy_state(dict(learner.model.named_buffers())),
            "random": torch.get_rng_state(),
            "losses": history.losses,
        }
        states.append(state)
    assert_same_bits(states[1], states[0])
    assert states[0]["trunk.1.num_batches_tracked"] == 3


def test_a_loss_that_draws_at_random_draws_the_same_again() -> None:
    """Breaks if a loss term with random samples is compared with one of other samples."""
    tasks = make_terms(
        a=lambda p: (p - torch.rand(3)).square().sum() + 1,
        b=lambda p: (p * torch.rand(3)).square().sum() + 1,
    )
    states = []
    for weighting in (FAMO(tasks), Fixed(tasks)):
        torch.manual_seed(0)
        still = partial(torch.optim.SGD, lr=0.0)
        learner = make_learner(
            tasks, NO_DATA, model=Point(0.1, 0.2, 0.3), weighting=weighting, optimizer=still
        )
        train(learner, NO_DATA, 3)
        states.append(torch.get_rng_state())
        assert all(p == 0 for p in weighting.parameters())  # no update, no progress
    assert torch.equal(*states)


def test_the_record_holds_the_losses_before_the_update() -> None:
    """Breaks if the second pass enters the train log as a loss, a row or a column."""
    split = make_split(TASKS)
    learner = make_learner(TASKS, split, weighting=FAMO(TASKS), optimizer=SGD)
    buffer = EpochBuffer(TASKS, 3, torch.device("cpu"), learner.layout)
    expected = []
    for _ in range(3):
        expected.append(losses_of(learner.model, TASKS, split).detach())
        buffer.add(learner.step(split, Active.all(3)), Active.all(3))
    record = buffer.take(1, 1)
    assert record.table.shape == (3, 7)
    assert_near(record.table[:, :3], torch.stack(expected), 1e-15)
    assert_near(record.table[:, 3:6].sum(1), torch.ones(3), 1e-14)
    assert learner.layout.measured == {}


def test_the_second_pass_gives_no_gradient() -> None:
    """Breaks if the look at the new losses moves the model: with equal shares it must not."""
    split = make_split(TASKS)
    learner = make_learner(TASKS, split, weighting=FAMO(TASKS, lr=1e-300), optimizer=SGD)
    twin = make_mlp(TASKS)
    optimizer = SGD(twin.parameters())
    for _ in range(10):
        learner.step(split, Active.all(3))
        losses = losses_of(twin, TASKS, split)
        optimizer.zero_grad()
        (losses.log().sum() / (1 / losses.detach()).sum()).backward()  # c sum z log L with z = 1/3
        optimizer.step()
    assert_near(copy_state(learner.model.state_dict()), copy_state(twin.state_dict()), 1e-14)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gamma": -0.1}, r"weighting\.gamma must be a number of at least 0; found -0\.1\."),
        ({"gamma": float("nan")}, r"weighting\.gamma must be a number of at least 0; found nan\."),
        ({"gamma": float("inf")}, r"weighting\.gamma must be a number of at least 0; found inf\."),
        ({"gamma": "small"}, r"weighting\.gamma must be a number of at least 0; found 'small'\."),
        ({"gamma": True}, r"weighting\.gamma must be a number of at least 0; found True\."),
        ({"gamma": None}, r"weighting\.gamma must be a number of at least 0; found None\."),
        ({"lr": -1}, r"weighting\.lr must be positive or null; found -1\."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    """Breaks if a typo trains something else without a word."""
    with pytest.raises(ConfigError, match=words):
        FAMO(TASKS, **options)
