"""Warnings that teach: each appears exactly where it is true, says why, and is said once."""

from __future__ import annotations

import itertools
import json
import math
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mtl_runner.experiment.build import Experiment, build
from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.likelihood import Heteroscedastic, Homoscedastic, Standard
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task
from mtl_runner.train.advice import (
    lessons_at_the_end,
    lessons_of_losses,
    lessons_of_optimizer,
    lessons_of_setup,
)
from mtl_runner.train.totals import EpochMeans
from mtl_runner.weighting import (
    DWA,
    IMTLL,
    Fixed,
    Learned,
    LogSum,
    Random,
    Uncertainty,
    UncertaintySoftmax,
    Weighting,
)
from tests.support.builders import SGD, make_split, make_tasks, near
from tests.support.commands import Command, send
from tests.unit.likelihood.references import CONF, everything, learner_with

pytestmark = pytest.mark.usefixtures("float64")

HETEROSCEDASTIC = ("likelihood=heteroscedastic",)
HOMOSCEDASTIC = ("likelihood=homoscedastic",)


def built(*overrides: str, **data: Any) -> Experiment:
    """A run on a task of every kind, built and not yet trained."""
    return build(everything(*overrides, gaps=False, **data))


def said(*overrides: str) -> list[str]:
    return lessons_of_setup(built(*overrides))


def trained(*overrides: str, steps: int = 4) -> Tensor:
    """All parameters of the model after some steps."""
    experiment = built(*overrides)
    split = experiment.data.splits["train"]
    for _ in range(steps):
        experiment.learner.step(split, Active.all(4))
    return nn.utils.parameters_to_vector(experiment.learner.model.parameters()).detach()


def holds(lessons: Sequence[str], part: str) -> bool:
    return any(part in lesson for lesson in lessons)


# Fixed weights under one optimizer per task

UNEQUAL = "weighting.weights={regression: 0.01, multilabel: 3.0}"
PER_TASK = ("update=per_task", UNEQUAL)
TINY_EPS = "optimizer.eps=1e-30"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(PER_TASK, id="adam"),
        pytest.param((*PER_TASK, "update.gradients=fresh"), id="fresh"),
        pytest.param((*PER_TASK, "optimizer=adamw"), id="adamw"),
        pytest.param((*PER_TASK, "optimizer._target_=torch.optim.NAdam"), id="nadam"),
        pytest.param((*PER_TASK, "optimizer._target_=torch.optim.Adamax"), id="adamax"),
        pytest.param((*PER_TASK, "optimizer._target_=torch.optim.Adagrad"), id="adagrad"),
        pytest.param((*PER_TASK, "optimizer._target_=torch.optim.RMSprop"), id="rmsprop"),
        pytest.param((*PER_TASK, "optimizer._target_=torch.optim.SGD", "~eps"), id="sgd"),
        pytest.param(("update=adatask", UNEQUAL), id="adatask"),
        pytest.param(("update=joint", UNEQUAL), id="joint"),
        pytest.param(("update=jacobian", "update.aggregator=sum", UNEQUAL), id="jacobian"),
        pytest.param(("update=per_task", "weighting.weights=2.0"), id="all_two"),
        pytest.param(
            (*PER_TASK, "update.groups=[[regression,regression_l1],[classification,multilabel]]"), id="unequal_within_a_group"
        ),
        pytest.param(
            (
                "update=per_task",
                "update.groups=[[regression,regression_l1],[classification,multilabel]]",
                "weighting.weights={classification: 5.0, multilabel: 5.0}",
            ),
            id="unequal_between_groups",
        ),
        pytest.param(("update=per_task", "weighting.weights={multilabel: 0.0}"), id="zero"),
        pytest.param((*PER_TASK, "optimizer.weight_decay=0.5"), id="l2"),
        pytest.param((*PER_TASK, "optimizer=adamw", "optimizer.weight_decay=0.5"), id="decoupled"),
        pytest.param((*PER_TASK, "trainer.clip=0.5"), id="clip"),
        pytest.param((*PER_TASK, "optimizer._target_=torch.optim.RAdam"), id="radam"),  # its first steps are SGD's
        pytest.param(
            (*PER_TASK, "optimizer._target_=torch.optim.Adagrad", "optimizer.initial_accumulator_value=0.1"),
            id="adagrad_warm"),
    ],
)  # fmt: skip
def test_fixed_weights_are_said_to_have_no_effect_where_they_have_none(
    options: tuple[str, ...],
) -> None:
    """Breaks if a run with useless weights goes unwarned, or working ones are called useless: held against training itself."""
    eps = () if "~eps" in options else (TINY_EPS,)
    options = tuple(option for option in options if option != "~eps")
    ones = tuple(option for option in options if not option.startswith("weighting.weights"))
    lessons = [lesson for lesson in said(*options, *eps) if "have no effect" in lesson]
    without_effect = torch.allclose(
        trained(*options, *eps), trained(*ones, *eps), rtol=0, atol=1e-9
    )
    # Equal weights say nothing anyone could be wrong about.
    unequal = "weighting.weights=2.0" not in options
    assert bool(lessons) == (without_effect and unequal)


def test_weights_without_effect_are_named_with_the_optimizer_and_the_way_out() -> None:
    """Breaks if the sentence does not say which weights, why, and what to do."""
    (lesson,) = said(*PER_TASK, "optimizer=adamw")
    assert lesson == (
        "The fixed weights [0.01, 1.0, 1.0, 3.0] have no effect (but through eps): each task has its own AdamW, whose step does not "
        "depend on the size of the loss; use update=joint, or give groups of tasks."
    )
    assert said("update=per_task", "weighting=uncertainty") == []


# Groups with equal settings


@pytest.mark.parametrize(
    "groups",
    [
        "{shared: {}}",
        "{regression: {}, classification: {}}",
        "{shared: {lr: 0.02}, regression: {weight_decay: 0.0}}",
        "{shared: {lr: 0.02}, regression: {lr: 0.01}}",
        "{regression: {weight_decay: 0.1}}",
        "{regression: {start: '2 steps'}}",
        "{regression: {_target_: torch.optim.RMSprop}}",
        "{regression: {gain: 0.5}}",
    ],
)
def test_groups_are_said_to_equal_one_optimizer_where_they_do(groups: str) -> None:
    """Breaks if groups that change nothing go unwarned, or some that do are called useless: held against training itself."""
    lessons = [lesson for lesson in said(f"update.groups={groups}") if "bit for bit" in lesson]
    assert bool(lessons) == torch.equal(trained(f"update.groups={groups}"), trained())


def test_equal_groups_are_counted_and_explained() -> None:
    """Breaks if the sentence does not say how many optimizers, why they equal one, and what to do."""
    (lesson,) = said("update.groups={shared: {}}")
    assert lesson == (
        "update.groups makes 5 Adam optimizers with equal settings, which equals one of them bit for bit: it works on each "
        "element by itself; change a group's lr, or leave the groups out."
    )
    assert said() == []


# Decay and clipping that reach predicted log-variances

PULLED = "pulls them towards the trivial predictor's noise"
HELD = "holds them back while a task's residuals are large"


@pytest.mark.parametrize("update", ["joint", "per_task", "adatask", "jacobian"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), None),
        (("optimizer=adamw",), f"optimizer.weight_decay=0.01 also reaches the outputs that predict the log-variances, and {PULLED}; "),
        (("trainer.clip=2.0",), f"trainer.clip=2.0 also reaches the outputs that predict the log-variances, and {HELD}; "),
        (
            ("optimizer=adamw", "trainer.clip=2.0"),
            f"optimizer.weight_decay=0.01 and trainer.clip=2.0 also reaches the outputs that predict the log-variances, and {PULLED}; ",
        ),
    ],
)  # fmt: skip
def test_what_reaches_the_predicted_noise_is_named(
    update: str, options: tuple[str, ...], words: str | None
) -> None:
    """Breaks if a sigma that is pulled by the network's decay or clipping is taken for what the data say."""
    lessons = said(*HETEROSCEDASTIC, f"update={update}", *options)
    expected = (
        [] if words is None else [f"{words}set it to 0 or null if sigma is what you want to know."]
    )
    assert lessons == expected


@pytest.mark.parametrize(
    "update", ["joint", pytest.param("per_task"), "adatask", "jacobian"]
)  # fmt: skip
def test_an_l2_decay_reaches_the_predicted_noise_under_every_update(update: str) -> None:
    """Breaks if a decay is overlooked because the update shares it out itself."""
    assert holds(
        said(*HETEROSCEDASTIC, f"update={update}", "optimizer.weight_decay=0.5"), "weight_decay=0.5"
    )


def test_the_decay_of_one_group_is_found() -> None:
    """Breaks if only the first optimizer's decay is looked at."""
    groups = "update.groups={shared: {weight_decay: 0.0}, classification: {weight_decay: 0.25}}"
    assert holds(said(*HETEROSCEDASTIC, groups), "optimizer.weight_decay=0.25 also reaches")


@pytest.mark.parametrize("likelihood", ["standard", "homoscedastic"])
def test_log_variances_beside_the_model_are_out_of_reach(likelihood: str) -> None:
    """Breaks if a run is warned of a decay that its sigmas never get."""
    lessons = said(f"likelihood={likelihood}", "optimizer=adamw", "trainer.clip=1.0")
    assert not holds(lessons, "also reaches")


# The exact softmax beside a free last layer


def free_softmax(task: str) -> str:
    return (
        f"The exact likelihood does not weigh the classification {task!r}: its last layer is free, so logits and sigma^2 rescale "
        "together at the same loss; its sigma is a temperature only for frozen logits (weighting=uncertainty does weigh it)."
    )


@pytest.mark.parametrize(
    ("options", "task"),
    [
        ((), "classification"),
        (("likelihood.frozen={classification: 1.0}",), "multilabel"),
        (("likelihood.frozen={classification: 1.0, multilabel: 1.0}",), None),
        (("likelihood.frozen=1",), None),
        (("likelihood.reduce=mean", "likelihood.lr=null", "update=per_task"), "classification"),
    ],
)
def test_a_free_softmax_is_said_not_to_be_weighed(
    options: tuple[str, ...], task: str | None
) -> None:
    """Breaks if a sigma without meaning is taken for an uncertainty, or a frozen one, which learns nothing, is warned of."""
    assert said(*HOMOSCEDASTIC, *options) == ([free_softmax(task)] if task else [])


def test_numbers_alone_are_weighed_by_the_exact_likelihood() -> None:
    """Breaks if a regression is warned of a softmax."""
    assert lessons_of_setup(built(*HOMOSCEDASTIC, tasks=["regression", "regression_l1"])) == []
    assert said(*HETEROSCEDASTIC) == []


class FrozenHead(nn.Module):
    """A user's model whose last layer is given; ``logits`` leaves nothing to train for the classification at all."""

    def __init__(
        self, tasks: Sequence[Task], input_shape: Sequence[int], logits: bool = False
    ) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(*input_shape, 6), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(6, task.size) for task in tasks)
        self.names = [task.name for task in tasks]
        self.logits = logits
        for name, head in zip(self.names, self.heads, strict=True):
            head.requires_grad_(name != "classification")

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.trunk(inputs)
        still = features.detach() if self.logits else features
        return {
            n: head(still if n == "classification" else features)
            for n, head in zip(self.names, self.heads, strict=True)
        }


def with_frozen_head(logits: bool) -> list[str]:
    config = everything(*HOMOSCEDASTIC, gaps=False, tasks=["regression", "classification"])
    config.model = OmegaConf.create(
        {"_target_": "tests.unit.train.test_advice.FrozenHead", "logits": logits}
    )
    return lessons_of_setup(build(config))


def test_frozen_logits_have_a_temperature() -> None:
    """Breaks if the one case in which the exact sigma means something is warned of."""
    assert with_frozen_head(logits=True) == []


def test_a_frozen_last_layer_is_not_called_free() -> None:
    """Breaks if a given softmax layer, whose logits cannot be rescaled at will, is warned of."""
    assert with_frozen_head(logits=False) == []


def cross_entropy(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """A replaced loss of a classification."""
    return nn.functional.cross_entropy(
        outputs["classification"], targets["classification"], label_smoothing=0.1
    )


def test_a_replaced_loss_has_no_softmax_likelihood() -> None:
    """Breaks if a task that is taken as it is gets warned of a sigma that it does not have."""
    losses = {"classification": {"_target_": "tests.unit.train.test_advice.cross_entropy"}}
    assert (
        lessons_of_setup(
            built(*HOMOSCEDASTIC, tasks=["regression", "classification"], losses=losses)
        )
        == []
    )


# Two noise scales

TWICE = (
    "Both the likelihood and the weighting learn a noise scale per task, the second one of a loss that is weighed already; "
    "use weighting=fixed with this likelihood, or likelihood=standard."
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((*HETEROSCEDASTIC, "weighting=uncertainty"), True),
        ((*HOMOSCEDASTIC, "weighting=uncertainty"), True),
        ((*HOMOSCEDASTIC, "weighting=uncertainty", "weighting.solver=closed_form"), True),
        ((*HOMOSCEDASTIC, "weighting=dwa"), False),
        (HETEROSCEDASTIC, False),
        (("weighting=uncertainty",), False),
        pytest.param((*HOMOSCEDASTIC, "likelihood.frozen=1.0", "weighting=uncertainty"), False),
        pytest.param((*HETEROSCEDASTIC, "weighting=uncertainty", "weighting.frozen=1.0"), False),
    ],
)  # fmt: skip
def test_a_noise_that_is_learned_twice_is_said(options: tuple[str, ...], expected: bool) -> None:
    """Breaks if two sigmas per task share the work unnoticed, or a fixed one is said to learn."""
    assert (TWICE in said(*options)) == expected


# Models that share nothing


ALONE = {
    "model=separate_mlps": "This model shares no parameter (model=mlp does)",
    "share=false": "With share=false no parameter is shared",
}
nothing_shared_is = pytest.mark.parametrize(("option", "why"), ALONE.items())
NO_ROWS = ", so update=jacobian has nothing to aggregate and equals update=joint."
NO_CONFLICTS = ", so record.gradients=true has no gradients to compare."


@nothing_shared_is
def test_jacobian_descent_without_shared_parameters_is_said(option: str, why: str) -> None:
    """Breaks if a comparison of aggregators runs on a model on which all of them are the same."""
    assert said("update=jacobian", "model.hidden=[4]", option) == [why + NO_ROWS]
    assert said("update=jacobian") == []
    jacobian, joint = (
        trained(f"update={u}", "model.hidden=[4]", option) for u in ("jacobian", "joint")
    )
    torch.testing.assert_close(jacobian, joint, rtol=0, atol=1e-12)


@nothing_shared_is
def test_gradients_without_shared_parameters_are_said_not_to_be_there(
    option: str, why: str
) -> None:
    """Breaks if a user looks for conflicts in a file that cannot have any."""
    assert said("record.gradients=true", "model.hidden=[4]", option) == [why + NO_CONFLICTS]
    both = said("update=jacobian", "record.gradients=true", "model.hidden=[4]", option)
    assert both == [why + NO_ROWS, why + NO_CONFLICTS]
    assert said("model.hidden=[4]", option) == []
    assert said("record.gradients=true") == []


def test_one_task_shares_with_nobody() -> None:
    """Breaks if a user with a single task is sent to another model."""
    alone = built("update=jacobian", "record.gradients=true", tasks=["regression"])
    assert lessons_of_setup(alone) == [
        "There is only one task" + NO_ROWS,
        "There is only one task" + NO_CONFLICTS,
    ]


# All of them together

PRESETS = sorted(path.stem for path in (CONF / "weighting").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_is_warned_of_but_the_exact_softmax(preset: str) -> None:
    """Breaks if a strategy that we offer by name is warned of on a model with a shared trunk, at its defaults."""
    lessons = said(f"weighting={preset}")
    assert lessons == ([free_softmax("classification")] if preset == "uncertainty_exact" else [])


def test_lessons_add_up() -> None:
    """Breaks if one lesson hides another."""
    lessons = said(*HOMOSCEDASTIC, "weighting=uncertainty", "update.groups={shared: {}}")
    assert [lesson.split()[0] for lesson in lessons] == ["update.groups", "The", "Both"]


# The losses of an epoch


def means(
    loss: list[float],
    objective: float,
    nll: list[float] | None = None,
    active: list[float] | None = None,
) -> EpochMeans:
    further = {} if nll is None else {"nll": nll}
    return EpochMeans(loss, [1.0] * len(loss), active or [1.0] * len(loss), objective, further)


def learner(
    weighting: type[Weighting] | partial[Weighting] = Fixed, likelihood: Any = Standard
) -> Learner:
    tasks = make_tasks(a="regression", b="classification")
    return learner_with(likelihood(tasks), make_split(tasks), weighting=weighting(tasks))


@pytest.mark.parametrize(
    ("weighting", "effect"),
    [
        (Uncertainty, "weighs more and more without bound"),
        (IMTLL, "weighs more and more without bound"),
        (LogSum, "gives the weight 0"),
        (UncertaintySoftmax, "gives all the weight"),
        (DWA, "counts as a loss of 0"),
    ],
)
def test_a_negative_loss_is_named_where_the_weighting_is_not_made_for_it(
    weighting: type[Weighting], effect: str
) -> None:
    """Breaks if a run is destroyed by what becomes of its weights, and nobody says so."""
    found = lessons_of_losses(learner(weighting), means([2.0, -0.51234], 1.0))
    assert found == {
        "b": f"Task 'b' has a negative loss (-0.512), which {weighting.__name__} {effect}; "
        "shift it above 0 or choose another weighting."
    }
    assert lessons_of_losses(learner(weighting), means([2.0, 0.0], 1.0)) == {}
    assert lessons_of_losses(learner(weighting), means([2.0, math.nan], 1.0)) == {}, (
        "no label in the epoch"
    )


def test_what_is_said_of_a_negative_loss_is_so() -> None:
    """Breaks if the lesson tells another story than the weights."""
    tasks = make_tasks(a="regression", b="classification")
    losses = torch.tensor([2.0, -0.5])
    assert LogSum(tasks).weigh(losses)[0][1] == 0
    near(UncertaintySoftmax(tasks).weigh(losses)[0], torch.tensor([0.0, 1.0]), 1e-12)
    growing = Uncertainty(tasks, init=0.0, lr=0.5, anneal=False)
    own = OwnOptimizers(growing, SGD)
    weights = []
    for _ in range(20):
        weights.append(growing.weigh(losses)[0][1].item())
        own.step()
    assert all(later > earlier for earlier, later in itertools.pairwise(weights))
    assert weights[-1] > 100


@pytest.mark.parametrize("weighting", [Fixed, Learned, Random])
def test_a_negative_loss_is_fine_where_the_weighting_can_bear_it(
    weighting: type[Weighting],
) -> None:
    """Breaks if a legal term is called a mistake."""
    assert lessons_of_losses(learner(weighting), means([2.0, -0.5], -3.0)) == {}


@pytest.mark.parametrize("likelihood", [Homoscedastic, Heteroscedastic])
def test_under_a_likelihood_what_counts_is_the_nll(likelihood: Any) -> None:
    """Breaks if the weighting's losses, the likelihoods, are judged by the standard losses beside them, which are positive."""
    negative, positive = (
        means([2.0, 0.5], 1.0, nll=[-1.0, 0.5]),
        means([2.0, 0.5], 1.0, nll=[1.0, 0.5]),
    )
    assert list(lessons_of_losses(learner(LogSum, likelihood), negative)) == ["a"]
    assert lessons_of_losses(learner(LogSum, likelihood), positive) == {}
    assert lessons_of_losses(learner(Fixed, likelihood), negative) == {}


@pytest.mark.parametrize(
    ("weighting", "likelihood", "expected"),
    [
        (Fixed, Homoscedastic, True),
        (Fixed, Heteroscedastic, True),
        (Uncertainty, Standard, True),
        (Fixed, Standard, False),
        (LogSum, Standard, False),
    ],
)
def test_a_negative_total_is_called_legal_where_it_is_a_likelihood(
    weighting: Any, likelihood: Any, expected: bool
) -> None:
    """Breaks if a density above 1 frightens a user, or a negative sum of losses is called a likelihood."""
    nll = [1.0, 0.5] if likelihood is not Standard else None
    found = lessons_of_losses(learner(weighting, likelihood), means([2.0, 0.5], -3.14159, nll=nll))
    words = (
        "The total loss is negative (-3.14), which is legal: it is a negative log-likelihood, and a density can "
        "exceed 1; judge the run by its task losses."
    )
    assert found == ({"total": words} if expected else {})
    assert lessons_of_losses(learner(weighting, likelihood), means([2.0, 0.5], 0.0, nll=nll)) == {}


# The end of a run


def at(s: float, **options: Any) -> Learner:
    return learner(partial(Uncertainty, form="simplified", init=s, **options))


def test_a_log_variance_that_has_not_arrived_is_told_with_its_distance() -> None:
    """Breaks if a sigma that stopped half-way is taken for the noise of the data."""
    (lesson,) = lessons_at_the_end(at(0.0), means([math.e**2, 1.0], 1.0))
    assert lesson == (
        "The log-variance of 'a' ended at 0.000, 2.00 below its optimum 2.000 for the last epoch's loss: it has not arrived; "
        "raise weighting.lr=0.025 or train longer."
    )
    (lesson,) = lessons_at_the_end(at(0.0, lr=None), means([math.e**2, 1.0], 1.0))
    assert lesson.endswith(
        "it has not arrived; give it a learning rate of its own (weighting.lr=0.025) or train longer."
    )
    (lesson,) = lessons_at_the_end(at(1.5), means([math.e, math.e**1.5], 1.0))
    assert lesson.startswith(
        "The log-variance of 'a' ended at 1.500, 0.50 above its optimum 1.000 for"
    )
    assert len(lessons_at_the_end(at(5.0), means([1.0, 1.0], 1.0))) == 2


@pytest.mark.parametrize(
    ("distance", "expected"), [(0.0, 0), (0.099, 0), (-0.099, 0), (0.101, 1), (-0.101, 1)]
)
def test_five_percent_of_sigma_is_near_enough(distance: float, expected: int) -> None:
    """Breaks if the noise of the last batches is called a failure, or a failure noise."""
    assert (
        len(lessons_at_the_end(at(1.0), means([math.exp(1.0 + distance), math.e], 1.0))) == expected
    )


def test_what_does_not_train_cannot_be_late() -> None:
    """Breaks if a frozen sigma, a closed form or a task that is no longer trained is warned of."""
    far = means([100.0, 100.0], 1.0)
    assert lessons_at_the_end(at(0.0, frozen=1.0), far) == []
    assert lessons_at_the_end(at(0.0, solver="closed_form"), far) == []
    assert lessons_at_the_end(learner(), far) == []
    assert len(lessons_at_the_end(at(0.0, frozen={"a": 1.0}), far)) == 1
    idle = lessons_at_the_end(at(0.0), means([100.0, 100.0], 1.0, active=[0.0, 0.5]))
    assert [lesson.split("'")[1] for lesson in idle] == ["b"]
    assert lessons_at_the_end(at(0.0), means([math.nan, 1.0], 1.0)) == [], (
        "no label in the last epoch"
    )
    waiting = learner(Uncertainty)  # log_loss: its first batch has not come
    assert lessons_at_the_end(waiting, far) == []


def test_a_likelihoods_log_variance_is_held_against_the_standard_loss() -> None:
    """Breaks if the optimum log MSE is worked out from the NLL, or the sentence names the weighting's rate."""
    tasks = make_tasks(a="regression", b="classification", c="regression_l1")
    likelihood = Homoscedastic(tasks, init={"a": 2.0, "b": 5.0, "c": 1.0})
    exact = learner_with(likelihood, make_split(tasks))
    arrived = means([math.e**2, 3.0, math.e], 1.0, nll=[9.0, 9.0, 9.0])
    assert lessons_at_the_end(exact, arrived) == []
    (lesson,) = lessons_at_the_end(
        exact, means([math.e**2.5, 3.0, math.e], 1.0, nll=[9.0, 9.0, 9.0])
    )
    assert lesson == (
        "The log-variance of 'a' ended at 2.000, 0.50 below its optimum 2.500 for the last epoch's loss: it has not arrived; "
        "raise likelihood.lr=0.025 or train longer."
    )
    (lesson,) = lessons_at_the_end(exact, means([math.e**2, 3.0, 1.0], 1.0, nll=[9.0, 9.0, 9.0]))
    assert lesson.startswith("The log-variance of 'c' ended at 1.000, 1.00 above its optimum 0.000")


def test_a_small_noise_can_be_late_too() -> None:
    """Breaks if sigmas of quiet data, whose densities exceed 1, may stop anywhere without a word."""
    tasks = make_tasks(a="regression", b="regression_l1")
    exact = learner_with(Homoscedastic(tasks, init={"a": -3.0, "b": -8.0}), make_split(tasks))
    lessons = lessons_at_the_end(exact, means([math.e**-8, math.e**-8], -1.0, nll=[-0.5, -7.0]))
    assert [lesson.split(",")[0] for lesson in lessons] == [
        "The log-variance of 'a' ended at -3.000"
    ]


def test_a_log_variance_without_an_optimum_is_not_late() -> None:
    """Breaks if a user with a negative loss, which has no best sigma, is told to train longer."""
    assert lessons_at_the_end(at(0.0), means([1.0, -5.0], 1.0)) == []


def test_the_weighting_of_likelihoods_is_held_against_what_it_sees() -> None:
    """Breaks if an uncertainty weighting on top of a likelihood is judged by losses that it never got."""
    tasks = make_tasks(a="regression", b="regression")
    both = learner_with(
        Homoscedastic(tasks, frozen=1.0),
        make_split(tasks),
        weighting=Uncertainty(tasks, form="simplified", init=1.0),
    )
    assert lessons_at_the_end(both, means([50.0, 50.0], 1.0, nll=[math.e, math.e])) == []
    assert len(lessons_at_the_end(both, means([math.e, math.e], 1.0, nll=[50.0, 50.0]))) == 2


# A loop of one's own


def test_a_decay_that_reaches_log_variances_is_said() -> None:
    """Breaks if a user's own loop pulls every sigma towards 1 and nothing says so."""
    weighting = Uncertainty(make_tasks(a="regression"), init=0.0)
    network = nn.Linear(2, 1)
    together = torch.optim.AdamW([*network.parameters(), *weighting.parameters()], weight_decay=0.1)
    assert lessons_of_optimizer(together, weighting) == [
        "The optimizer's weight_decay=0.1 reaches the parameters of Uncertainty and pulls its log-variances "
        "towards 0; give them a parameter group with weight_decay=0."
    ]
    likelihood = Homoscedastic(make_tasks(a="regression"))
    groups = [
        {"params": network.parameters()},
        {"params": likelihood.parameters(), "weight_decay": 0.25},
    ]
    assert (
        "weight_decay=0.25 reaches the parameters of Homoscedastic"
        in lessons_of_optimizer(torch.optim.SGD(groups), likelihood)[0]
    )
    apart = [
        {"params": network.parameters()},
        {"params": weighting.parameters(), "weight_decay": 0.0},
    ]
    assert lessons_of_optimizer(torch.optim.AdamW(apart, weight_decay=0.1), weighting) == []
    assert lessons_of_optimizer(torch.optim.AdamW(network.parameters()), weighting) == []
    assert lessons_of_optimizer(torch.optim.Adam(weighting.parameters()), weighting) == []
    assert lessons_of_optimizer(torch.optim.Rprop(weighting.parameters()), weighting) == [], (
        "no weight decay at all"
    )


# The real command

ROWS_OF_A_TABLE = ("task ", "---", "y1 ", "y2 ", "value ", "label ", "relative_loss ")
SHORT = ("trainer.epochs=3", "record.plots=none", "trainer.device=cpu")
EXACT_RUN = (
    "data=toy_mixed",
    "weighting=uncertainty_exact",
    "model.hidden=[16]",
    "record.plots=none",
    "trainer.device=cpu",
)


def warnings_of(out: str, directory: str = "run") -> list[str]:
    """The lines of a terminal that are neither the opening, the table nor the place of the results."""
    opening = (": train ", "finished already", "Stopping at the next evaluated epoch")
    lines = [line for line in out.splitlines() if line and line != directory]
    return [
        line
        for line in lines
        if not line.startswith(ROWS_OF_A_TABLE) and not any(part in line for part in opening)
    ]


def test_the_main_command_of_the_readme_warns_of_nothing(mtl: Command) -> None:
    """Breaks if the first command that anybody types ends with a warning."""
    result = mtl(
        "mtl-run",
        "weighting=uncertainty",
        "data=toy_regression",
        "record.plots=none",
        "hydra.run.dir=run",
    )
    assert result.code == 0, result.err
    assert warnings_of(result.out) == []
    assert result.err == ""


def test_a_lesson_of_the_setup_is_said_once(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a lesson is logged twice, or only on the terminal or only in run.log."""
    result = mtl(
        "mtl-run",
        "update=per_task",
        "weighting=fixed",
        "weighting.weights.y1=0.5",
        *SHORT,
        "hydra.run.dir=run",
    )
    assert result.code == 0, result.err
    (lesson,) = warnings_of(result.out)
    assert lesson.startswith("The fixed weights [0.5, 1.0] have no effect")
    assert (tmp_path / "run" / "run.log").read_text().count(lesson) == 1


def test_a_negative_total_is_said_once_also_after_a_resume(mtl: Command, tmp_path: Path) -> None:
    """Breaks if every evaluated epoch, or a resumed run, says again what was said."""
    quiet = (
        "data.noise={y1: 0.001, y2: 0.001}",
        "likelihood=homoscedastic",
        "weighting=fixed",
        "optimizer.lr=0.02",
    )
    fast = ("likelihood.lr=0.2", "model.hidden=[16]", "record.plots=none", "trainer.device=cpu")
    options = (*quiet, *fast, "trainer.epochs=120", "trainer.evaluate_every=1", "hydra.run.dir=run")
    log = tmp_path / "run" / "run.log"

    def told() -> bool:
        return log.exists() and "The total loss is negative" in log.read_text()

    first = mtl("mtl-run", *options, meddle=send(signal.SIGINT, told))
    assert first.code == 130, "the run ended before it could be stopped"
    last = mtl("mtl-run", "resume=run")
    assert last.code == 0, last.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"
    assert "resuming after epoch" in last.out
    assert log.read_text().count("The total loss is negative") == 1
    assert "The total loss is negative" not in last.out


def test_a_lesson_of_the_setup_is_not_said_again_after_a_resume(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if run.log repeats a lesson for every time that a run was stopped."""
    options = (*EXACT_RUN, "trainer.epochs=40", "trainer.evaluate_every=1", "hydra.run.dir=run")
    first = mtl(
        "mtl-run", *options, meddle=send(signal.SIGINT, (tmp_path / "run" / "checkpoint.pt").exists)
    )
    assert first.code == 130, first.err
    assert first.out.count(free_softmax("label")) == 1
    assert mtl("mtl-run", "resume=run").code == 0
    assert (tmp_path / "run" / "run.log").read_text().count(free_softmax("label")) == 1


def test_a_sigma_that_has_not_arrived_is_said_at_the_end(mtl: Command, tmp_path: Path) -> None:
    """Breaks if the widely copied setting, whose sigmas lag for thousands of steps, passes without a word."""
    result = mtl("mtl-run", "weighting=uncertainty_simplified", *SHORT, "hydra.run.dir=run")
    assert result.code == 0, result.err
    lessons = warnings_of(result.out)
    assert [lesson.split(" ended at ")[0] for lesson in lessons] == [
        "The log-variance of 'y1'",
        "The log-variance of 'y2'",
    ]
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = [line.split(",") for line in file if ",train,y1," in line]
    loss, sigma = float(rows[-1][4]), float(rows[-1][6])
    s, optimum = 2 * math.log(sigma), math.log(loss)
    assert (
        f"ended at {s:.3f}, {optimum - s:.2f} below its optimum {optimum:.3f} for the last epoch's loss"
        in lessons[0]
    )
