"""Advice appears exactly where it is true, and gives the reason and the way out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mtl_runner.config.settings import TrainerOptions
from mtl_runner.experiment.build import build
from mtl_runner.experiment.learner import Learner
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.gradients.ranks import Ranks, joined
from mtl_runner.likelihood import Heteroscedastic, Homoscedastic, Standard
from mtl_runner.tasks.task import Task
from mtl_runner.train.advice import (
    advice_on_best,
    advice_on_log_variances,
    advice_on_losses,
    advice_on_optimizer,
    advice_on_setup,
)
from mtl_runner.train.epoch_record import EpochMeans
from mtl_runner.train.monitor import Monitor
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
from tests.support.builders import SGD, assert_near, make_split, make_tasks
from tests.support.likelihoods import learner_with
from tests.support.whole_runs import compose_config, everything_config
from tests.unit.train.advised_runs import (
    build_experiment,
    free_softmax,
    setup_advice,
    train_parameters,
)

pytestmark = pytest.mark.usefixtures("float64")

HETEROSCEDASTIC = ("likelihood=heteroscedastic",)
HOMOSCEDASTIC = ("likelihood=homoscedastic",)


def mentions(advice: Sequence[str], part: str) -> bool:
    """Return whether a sentence of the advice contains a text."""
    return any(part in sentence for sentence in advice)


# Fixed weights under one optimizer per task

UNEQUAL = "weighting.weights={regression: 0.01, multilabel: 3.0}"
PER_TASK = ("update=per_task", UNEQUAL)


def test_weights_without_effect_are_named_with_the_optimizer_and_the_way_out() -> None:
    """Breaks if the sentence does not say which weights, why, and what to do."""
    (sentence,) = setup_advice(*PER_TASK, "optimizer=adamw")
    assert sentence == (
        "The fixed weights [0.01, 1.0, 1.0, 3.0] have no effect (but through eps): each task has its own AdamW, whose step does not "
        "depend on the size of the loss; use update=joint, or give groups of tasks."
    )
    assert setup_advice("update=per_task", "weighting=uncertainty") == []


# Groups with equal settings


def test_equal_groups_are_counted_and_explained() -> None:
    """Breaks if the advice does not count the optimizers, or gives no reason or way out."""
    (sentence,) = setup_advice("update.groups={shared: {}}")
    assert sentence == (
        "update.groups makes 5 Adam optimizers with equal settings, which equals one of them bit for bit: it works on each "
        "element by itself; change a group's lr, or leave the groups out."
    )
    assert setup_advice() == []


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
    """Breaks if decay or clipping of the network moves a predicted sigma without advice."""
    advice = setup_advice(*HETEROSCEDASTIC, f"update={update}", *options)
    expected = (
        [] if words is None else [f"{words}set it to 0 or null if sigma is what you want to know."]
    )
    assert advice == expected


@pytest.mark.parametrize(
    "update", ["joint", pytest.param("per_task"), "adatask", "jacobian"]
)  # fmt: skip
def test_an_l2_decay_reaches_the_predicted_noise_under_every_update(update: str) -> None:
    """Breaks if a decay is overlooked because the update shares it out itself."""
    assert mentions(
        setup_advice(*HETEROSCEDASTIC, f"update={update}", "optimizer.weight_decay=0.5"),
        "weight_decay=0.5",
    )


def test_the_decay_of_a_single_group_is_named() -> None:
    """Breaks if only the first optimizer's decay is looked at."""
    groups = "update.groups={shared: {weight_decay: 0.0}, classification: {weight_decay: 0.25}}"
    assert mentions(
        setup_advice(*HETEROSCEDASTIC, groups), "optimizer.weight_decay=0.25 also reaches"
    )


@pytest.mark.parametrize("likelihood", ["standard", "homoscedastic"])
def test_log_variances_beside_the_model_are_out_of_reach(likelihood: str) -> None:
    """Breaks if a run is warned of a decay that its sigmas never get."""
    advice = setup_advice(f"likelihood={likelihood}", "optimizer=adamw", "trainer.clip=1.0")
    assert not mentions(advice, "also reaches")


# The exact softmax beside a free last layer


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
def test_a_free_softmax_is_named(options: tuple[str, ...], task: str | None) -> None:
    """Breaks if a sigma without meaning goes unmentioned, or a frozen one is mentioned."""
    assert setup_advice(*HOMOSCEDASTIC, *options) == ([free_softmax(task)] if task else [])


def test_numbers_alone_are_weighed_by_the_exact_likelihood() -> None:
    """Breaks if a regression is warned of a softmax."""
    assert (
        advice_on_setup(build_experiment(*HOMOSCEDASTIC, tasks=["regression", "regression_l1"]))
        == []
    )
    assert setup_advice(*HETEROSCEDASTIC) == []


class FrozenHead(nn.Module):
    """A user's model whose last layer is frozen for the classification.

    Args:
        tasks: The tasks.
        input_shape: Shape of a row of the inputs.
        logits: Whether the trunk is frozen for the classification too, and with it its logits.
    """

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


def advice_with_frozen_head(logits: bool) -> list[str]:
    """Return the advice on a run with a :class:`FrozenHead`."""
    config = everything_config(*HOMOSCEDASTIC, gaps=False, tasks=["regression", "classification"])
    config.model = OmegaConf.create(
        {"_target_": "tests.unit.train.test_advice.FrozenHead", "logits": logits}
    )
    return advice_on_setup(build(config))


def test_frozen_logits_have_a_temperature() -> None:
    """Breaks if the one case in which the exact sigma means something is warned of."""
    assert advice_with_frozen_head(logits=True) == []


def test_a_frozen_last_layer_is_not_called_free() -> None:
    """Breaks if a given softmax layer, whose logits cannot be rescaled at will, is warned of."""
    assert advice_with_frozen_head(logits=False) == []


def cross_entropy(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """Return a cross entropy that replaces the loss of a classification."""
    return nn.functional.cross_entropy(
        outputs["classification"], targets["classification"], label_smoothing=0.1
    )


def test_a_replaced_loss_has_no_softmax_likelihood() -> None:
    """Breaks if a task that is taken as it is gets warned of a sigma that it does not have."""
    losses = {"classification": {"_target_": "tests.unit.train.test_advice.cross_entropy"}}
    assert (
        advice_on_setup(
            build_experiment(*HOMOSCEDASTIC, tasks=["regression", "classification"], losses=losses)
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
def test_a_noise_that_is_learned_twice_is_named(options: tuple[str, ...], expected: bool) -> None:
    """Breaks if two sigmas per task share the work unnoticed, or a fixed one is said to learn."""
    assert (TWICE in setup_advice(*options)) == expected


# Models that share nothing


ALONE = {
    "model=separate_mlps": "This model shares no parameter (model=mlp does)",
    "share=false": "With share=false no parameter is shared",
}
nothing_shared_is = pytest.mark.parametrize(("option", "why"), ALONE.items())
NO_ROWS = ", so update=jacobian has nothing to aggregate and equals update=joint."
NO_CONFLICTS = ", so record.gradients=true has no gradients to compare."


@nothing_shared_is
def test_jacobian_descent_without_shared_parameters_is_named(option: str, why: str) -> None:
    """Breaks if a comparison of aggregators runs on a model on which all of them are the same."""
    assert setup_advice("update=jacobian", "model.hidden=[4]", option) == [why + NO_ROWS]
    assert setup_advice("update=jacobian") == []
    jacobian, joint = (
        train_parameters(f"update={u}", "model.hidden=[4]", option) for u in ("jacobian", "joint")
    )
    torch.testing.assert_close(jacobian, joint, rtol=0, atol=1e-12)


@nothing_shared_is
def test_recorded_gradients_without_shared_parameters_are_named(option: str, why: str) -> None:
    """Breaks if a user looks for conflicts in a file that cannot have any."""
    assert setup_advice("record.gradients=true", "model.hidden=[4]", option) == [why + NO_CONFLICTS]
    both = setup_advice("update=jacobian", "record.gradients=true", "model.hidden=[4]", option)
    assert both == [why + NO_ROWS, why + NO_CONFLICTS]
    assert setup_advice("model.hidden=[4]", option) == []
    assert setup_advice("record.gradients=true") == []


def test_one_task_shares_with_nobody() -> None:
    """Breaks if a user with a single task is sent to another model."""
    alone = build_experiment("update=jacobian", "record.gradients=true", tasks=["regression"])
    assert advice_on_setup(alone) == [
        "There is only one task" + NO_ROWS,
        "There is only one task" + NO_CONFLICTS,
    ]


# All of them together


def test_all_advice_on_a_setup_is_given() -> None:
    """Breaks if one sentence hides another."""
    advice = setup_advice(*HOMOSCEDASTIC, "weighting=uncertainty", "update.groups={shared: {}}")
    assert [sentence.split()[0] for sentence in advice] == ["update.groups", "The", "Both"]


# The losses of an epoch


def means(
    loss: list[float],
    objective: float,
    nll: list[float] | None = None,
    active: list[float] | None = None,
) -> EpochMeans:
    """Return the means of an epoch, every task with the weight 1."""
    measured = {} if nll is None else {"nll": nll}
    return EpochMeans(loss, [1.0] * len(loss), active or [1.0] * len(loss), objective, measured)


def learner(
    weighting: type[Weighting] | partial[Weighting] = Fixed, likelihood: Any = Standard
) -> Learner:
    """Return a learner of a regression ``a`` and a classification ``b``."""
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
    """Breaks if a negative loss destroys the weights of a run without advice."""
    advice = advice_on_losses(learner(weighting), means([2.0, -0.51234], 1.0))
    assert advice == {
        "b": f"Task 'b' has a negative loss (-0.512), which {weighting.__name__} {effect}; "
        "shift it above 0 or choose another weighting."
    }
    assert advice_on_losses(learner(weighting), means([2.0, 0.0], 1.0)) == {}
    assert advice_on_losses(learner(weighting), means([2.0, math.nan], 1.0)) == {}, (
        "no label in the epoch"
    )


def test_weights_do_what_the_advice_on_a_negative_loss_claims() -> None:
    """Breaks if the advice describes other weights than those of the weighting."""
    tasks = make_tasks(a="regression", b="classification")
    losses = torch.tensor([2.0, -0.5])
    assert LogSum(tasks).weigh(losses)[0][1] == 0
    assert_near(UncertaintySoftmax(tasks).weigh(losses)[0], torch.tensor([0.0, 1.0]), 1e-12)
    growing = Uncertainty(tasks, init=0.0, lr=0.5, anneal=False)
    own_optimizers = OwnOptimizers(growing, SGD)
    weights = []
    for _ in range(20):
        weights.append(growing.weigh(losses)[0][1].item())
        own_optimizers.step()
    assert all(later > earlier for earlier, later in itertools.pairwise(weights))
    assert weights[-1] > 100


@pytest.mark.parametrize("weighting", [Fixed, Learned, Random])
def test_a_negative_loss_is_fine_where_the_weighting_can_bear_it(
    weighting: type[Weighting],
) -> None:
    """Breaks if a legal term is called a mistake."""
    assert advice_on_losses(learner(weighting), means([2.0, -0.5], -3.0)) == {}


@pytest.mark.parametrize("likelihood", [Homoscedastic, Heteroscedastic])
def test_under_a_likelihood_what_counts_is_the_nll(likelihood: Any) -> None:
    """Breaks if the likelihoods that a weighting sees are judged by the standard losses."""
    negative, positive = (
        means([2.0, 0.5], 1.0, nll=[-1.0, 0.5]),
        means([2.0, 0.5], 1.0, nll=[1.0, 0.5]),
    )
    assert list(advice_on_losses(learner(LogSum, likelihood), negative)) == ["a"]
    assert advice_on_losses(learner(LogSum, likelihood), positive) == {}
    assert advice_on_losses(learner(Fixed, likelihood), negative) == {}


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
    """Breaks if a negative likelihood goes unexplained, or a sum of losses is called one."""
    nll = [1.0, 0.5] if likelihood is not Standard else None
    advice = advice_on_losses(learner(weighting, likelihood), means([2.0, 0.5], -3.14159, nll=nll))
    words = (
        "The total loss is negative (-3.14), which is legal: it is a negative log-likelihood, and a density can "
        "exceed 1; judge the run by its task losses."
    )
    assert advice == ({"total": words} if expected else {})
    assert advice_on_losses(learner(weighting, likelihood), means([2.0, 0.5], 0.0, nll=nll)) == {}


# The end of a run


def learner_at(s: float, **options: Any) -> Learner:
    """Return a learner whose uncertainty weighting has these log-variances."""
    return learner(partial(Uncertainty, form="simplified", init=s, **options))


def test_a_log_variance_that_has_not_arrived_is_named_with_its_distance() -> None:
    """Breaks if a sigma that stopped half-way is taken for the noise of the data."""
    (sentence,) = advice_on_log_variances(learner_at(0.0), means([math.e**2, 1.0], 1.0))
    assert sentence == (
        "The log-variance of 'a' ended at 0.000, 2.00 below its optimum 2.000 for the last epoch's loss: it has not arrived; "
        "raise weighting.lr=0.025 or train longer."
    )
    (sentence,) = advice_on_log_variances(learner_at(0.0, lr=None), means([math.e**2, 1.0], 1.0))
    assert sentence.endswith(
        "it has not arrived; give it a learning rate of its own (weighting.lr=0.025) or train longer."
    )
    (sentence,) = advice_on_log_variances(learner_at(1.5), means([math.e, math.e**1.5], 1.0))
    assert sentence.startswith(
        "The log-variance of 'a' ended at 1.500, 0.50 above its optimum 1.000 for"
    )
    assert len(advice_on_log_variances(learner_at(5.0), means([1.0, 1.0], 1.0))) == 2


@pytest.mark.parametrize(
    ("distance", "expected"), [(0.0, 0), (0.099, 0), (-0.099, 0), (0.101, 1), (-0.101, 1)]
)
def test_five_percent_of_sigma_is_near_enough(distance: float, expected: int) -> None:
    """Breaks if the noise of the last batches is called a failure, or a failure noise."""
    assert (
        len(
            advice_on_log_variances(learner_at(1.0), means([math.exp(1.0 + distance), math.e], 1.0))
        )
        == expected
    )


def test_what_does_not_train_cannot_be_late() -> None:
    """Breaks if a frozen sigma, a closed form or a task that is no longer trained is warned of."""
    far = means([100.0, 100.0], 1.0)
    assert advice_on_log_variances(learner_at(0.0, frozen=1.0), far) == []
    assert advice_on_log_variances(learner_at(0.0, solver="closed_form"), far) == []
    assert advice_on_log_variances(learner(), far) == []
    assert len(advice_on_log_variances(learner_at(0.0, frozen={"a": 1.0}), far)) == 1
    idle = advice_on_log_variances(learner_at(0.0), means([100.0, 100.0], 1.0, active=[0.0, 0.5]))
    assert [sentence.split("'")[1] for sentence in idle] == ["b"]
    assert advice_on_log_variances(learner_at(0.0), means([math.nan, 1.0], 1.0)) == [], (
        "no label in the last epoch"
    )
    waiting = learner(Uncertainty)  # log_loss: its first batch has not come
    assert advice_on_log_variances(waiting, far) == []


def test_a_likelihoods_log_variance_is_held_against_the_standard_loss() -> None:
    """Breaks if the optimum is computed from the NLL, or the weighting's rate is named."""
    tasks = make_tasks(a="regression", b="classification", c="regression_l1")
    likelihood = Homoscedastic(tasks, init={"a": 2.0, "b": 5.0, "c": 1.0})
    exact = learner_with(likelihood, make_split(tasks))
    arrived = means([math.e**2, 3.0, math.e], 1.0, nll=[9.0, 9.0, 9.0])
    assert advice_on_log_variances(exact, arrived) == []
    (sentence,) = advice_on_log_variances(
        exact, means([math.e**2.5, 3.0, math.e], 1.0, nll=[9.0, 9.0, 9.0])
    )
    assert sentence == (
        "The log-variance of 'a' ended at 2.000, 0.50 below its optimum 2.500 for the last epoch's loss: it has not arrived; "
        "raise likelihood.lr=0.025 or train longer."
    )
    (sentence,) = advice_on_log_variances(
        exact, means([math.e**2, 3.0, 1.0], 1.0, nll=[9.0, 9.0, 9.0])
    )
    assert sentence.startswith(
        "The log-variance of 'c' ended at 1.000, 1.00 above its optimum 0.000"
    )


def test_a_small_noise_can_be_late_too() -> None:
    """Breaks if sigmas of quiet data, whose densities exceed 1, may stop anywhere."""
    tasks = make_tasks(a="regression", b="regression_l1")
    exact = learner_with(Homoscedastic(tasks, init={"a": -3.0, "b": -8.0}), make_split(tasks))
    advice = advice_on_log_variances(exact, means([math.e**-8, math.e**-8], -1.0, nll=[-0.5, -7.0]))
    assert [sentence.split(",")[0] for sentence in advice] == [
        "The log-variance of 'a' ended at -3.000"
    ]


@pytest.mark.parametrize(
    ("best", "epoch", "final", "named"),
    [
        (0.5, 3, 0.6, True),
        (0.5, 3, 0.54, False),  # within the noise of an evaluation
        (0.5, 100, 0.6, False),  # not long past
        (-0.9, 3, -0.7, True),  # a metric of which more is better
        (-0.9, 3, -0.89, False),
    ],
)
def test_a_best_evaluation_that_is_long_past_is_told(
    best: float, epoch: int, final: float, named: bool
) -> None:
    """Breaks if a run that got worse and worse ends without a word, or a good one with one."""
    for judge in ("best", "final"):
        options = TrainerOptions(judge=judge)
        more_is_better = best < 0
        monitor = Monitor("a", "accuracy", True) if more_is_better else Monitor(None, "loss")
        sentences = advice_on_best(options, monitor, (best, epoch), final, epochs=200)
        assert len(sentences) == named
        if named:
            assert sentences[0].startswith(
                f"The best evaluation is long past: {monitor.name} was {abs(best):.3g} at epoch 3 of 200 and is {abs(final):.3g} at the end; "
                "train less (trainer.epochs=6) or stop early (trainer.patience)"
            )
            assert ("trainer.judge=best" in sentences[0]) == (judge == "final")


def test_a_log_variance_without_an_optimum_is_not_late() -> None:
    """Breaks if a user with a negative loss, which has no best sigma, is told to train longer."""
    assert advice_on_log_variances(learner_at(0.0), means([1.0, -5.0], 1.0)) == []


def test_the_weighting_of_likelihoods_is_held_against_what_it_sees() -> None:
    """Breaks if an uncertainty weighting on a likelihood is judged by losses it never got."""
    tasks = make_tasks(a="regression", b="regression")
    both = learner_with(
        Homoscedastic(tasks, frozen=1.0),
        make_split(tasks),
        weighting=Uncertainty(tasks, form="simplified", init=1.0),
    )
    assert advice_on_log_variances(both, means([50.0, 50.0], 1.0, nll=[math.e, math.e])) == []
    assert len(advice_on_log_variances(both, means([math.e, math.e], 1.0, nll=[50.0, 50.0]))) == 2


# A loop of one's own


def test_a_decay_that_reaches_log_variances_is_named() -> None:
    """Breaks if the weight decay of a user's loop pulls every sigma towards 1 without advice."""
    weighting = Uncertainty(make_tasks(a="regression"), init=0.0)
    network = nn.Linear(2, 1)
    together = torch.optim.AdamW([*network.parameters(), *weighting.parameters()], weight_decay=0.1)
    assert advice_on_optimizer(together, weighting) == [
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
        in advice_on_optimizer(torch.optim.SGD(groups), likelihood)[0]
    )
    apart = [
        {"params": network.parameters()},
        {"params": weighting.parameters(), "weight_decay": 0.0},
    ]
    assert advice_on_optimizer(torch.optim.AdamW(apart, weight_decay=0.1), weighting) == []
    assert advice_on_optimizer(torch.optim.AdamW(network.parameters()), weighting) == []
    assert advice_on_optimizer(torch.optim.Adam(weighting.parameters()), weighting) == []
    assert advice_on_optimizer(torch.optim.Rprop(weighting.parameters()), weighting) == [], (
        "no weight decay at all"
    )


# Tasks that count in no relative loss, and warm-ups that do not end


def test_a_task_without_a_relative_loss_is_named() -> None:
    """Breaks if a task with constant targets leaves the number that judges a run in silence."""
    experiment = build_experiment()
    experiment.trivial["val"] = [1.0, None, 1.0, 1.0]
    task = experiment.data.tasks[1].name
    (sentence,) = advice_on_setup(experiment)
    assert sentence == (
        f"Task {task!r} does not count in relative_loss: the trivial predictor's validation loss is not above 0, "
        "since the targets are constant or the loss can be negative; judge it by its own columns."
    )


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (("weighting.form=log_nadir", "weighting.warmup_epochs=3"), True),
        (("weighting.form=log_nadir", "weighting.warmup_epochs=2"), False),
        (("weighting.form=log_nadir", "weighting.nadir=1"), False),
        ((), False),
    ],
)
def test_a_warm_up_that_lasts_the_run_is_told(options: tuple[str, ...], warned: bool) -> None:
    """Breaks if a run of stch ends before its objective has begun, without a word."""
    advice = setup_advice("weighting=stch", "trainer.epochs=3", *options)
    assert mentions(advice, "weighting.warmup_epochs=3 leaves nothing of the 3 epochs") is warned


def test_what_differs_on_several_devices_is_told_once() -> None:
    """Breaks if somebody takes dropout on two devices for the same as on one."""
    start = "trainer.devices=1 equals one device except that"
    with joined(Ranks(0, 1)):
        assert not [a for a in setup_advice() if a.startswith(start)]
        (advice,) = [a for a in setup_advice("model.dropout=0.1") if a.startswith(start)]
    assert advice == f"{start} dropout draws in each process by itself; the result differs by that."


def test_what_differs_in_parts_is_told_once() -> None:
    """Breaks if somebody takes micro-batches with dropout for the same as whole batches."""
    start = "trainer.accumulate equals whole batches except that"
    assert not [a for a in setup_advice("trainer.accumulate=2") if a.startswith(start)]
    assert not [a for a in setup_advice("model.dropout=0.1") if a.startswith(start)]
    (advice,) = [
        a for a in setup_advice("trainer.accumulate=2", "model.dropout=0.1") if a.startswith(start)
    ]
    assert advice == f"{start} dropout draws part by part; the result differs by that."
    vae = build(compose_config("data=vae_digits", "trainer.accumulate=2"))
    (advice,) = [a for a in advice_on_setup(vae) if a.startswith(start)]
    assert advice.startswith(f"{start} the model draws its noise part by part and the loss term")


def test_metrics_that_keep_every_row_of_a_large_split_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Breaks if an evaluation of a hundred million rows runs out of memory without a word."""
    experiment = build(compose_config("data=digits", "data.metrics={digit: [auc, accuracy]}"))
    plain = advice_on_setup(build(compose_config("data=digits")))
    rows = len(experiment.data.splits["val"])
    monkeypatch.setattr("mtl_runner.train.advice.MANY_LABELS", rows)
    assert advice_on_setup(experiment) == plain
    monkeypatch.setattr("mtl_runner.train.advice.MANY_LABELS", rows - 1)
    assert advice_on_setup(experiment) == [
        *plain,
        f"auc of 'digit' is exact and no sum: every evaluation keeps score and label of {rows} labels in memory; "
        "measure something else (data.metrics.digit), or make the validation split smaller.",
    ]
    assert advice_on_setup(build(compose_config("data=digits"))) == plain
