"""Warnings that teach: one line each, once, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from mtl_runner.experiment.learner import Learner
from mtl_runner.likelihood import Homoscedastic
from mtl_runner.tasks.protocols import HasOptimum
from mtl_runner.train.totals import EpochMeans
from mtl_runner.update import AdaTask, Jacobian, Joint, PerTask
from mtl_runner.update.decay import is_decoupled
from mtl_runner.weighting import Fixed, Uncertainty

if TYPE_CHECKING:
    from mtl_runner.experiment.build import Experiment

FAR = 0.1  # of a log-variance from its optimum: 5 % of sigma
SCALE_FREE = (  # a constant factor on the gradient changes nothing but the weight of eps
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.NAdam,
    torch.optim.Adamax,
    torch.optim.Adagrad,
    torch.optim.RMSprop,
)


def lessons_of_setup(experiment: Experiment) -> list[str]:
    """What the choices on the four axes, taken together, do not do as one might think."""
    learner = experiment.learner
    found = [
        _weights_without_effect(learner),
        _equal_groups(learner),
        _reached_log_variances(learner, experiment.settings.trainer.clip),
        _free_softmax(learner),
        _two_noise_scales(learner),
        *_nothing_shared(experiment),
    ]
    return [lesson for lesson in found if lesson]


def lessons_of_losses(learner: Learner, means: EpochMeans) -> dict[str, str]:
    """What the losses of an epoch teach, by a key that stands for the lesson."""
    found = {}
    seen = means.further.get("nll", means.loss)  # what the weighting sees
    for task, loss in zip(learner.likelihood.tasks, seen, strict=True):
        if loss < 0 and learner.weighting.negative_losses:
            found[task.name] = (
                f"Task {task.name!r} has a negative loss ({loss:.3g}), which {type(learner.weighting).__name__} "
                f"{learner.weighting.negative_losses}; shift it above 0 or choose another weighting."
            )
    densities = learner.likelihood.has_noise or isinstance(learner.weighting, Uncertainty)
    if means.objective < 0 and densities:
        found["total"] = (
            f"The total loss is negative ({means.objective:.3g}), which is legal: it is a negative log-likelihood, and a density can "
            "exceed 1; judge the run by its task losses."
        )
    return found


def lessons_at_the_end(learner: Learner, means: EpochMeans) -> list[str]:
    """Log-variances that did not arrive."""
    found = []
    seen = means.further.get("nll", means.loss)
    for name, owner, losses in (
        ("weighting", learner.weighting, seen),
        ("likelihood", learner.likelihood, means.loss),
    ):
        if not isinstance(owner, HasOptimum):
            continue
        lr = owner.lr
        advice = (
            f"raise {name}.lr={lr}"
            if lr
            else f"give it a learning rate of its own ({name}.lr=0.025)"
        )
        for i, (task, pair) in enumerate(
            zip(learner.likelihood.tasks, owner.off_optimum(losses), strict=True)
        ):
            if (
                pair is not None
                and means.active[i]
                and losses[i] > 0
                and abs(pair[0] - pair[1]) > FAR
            ):
                s, optimum = pair
                side = "below" if s < optimum else "above"
                found.append(
                    f"The log-variance of {task.name!r} ended at {s:.3f}, {abs(s - optimum):.2f} {side} its optimum {optimum:.3f} for the "
                    f"last epoch's loss: it has not arrived; {advice} or train longer."
                )
    return found


def lessons_of_optimizer(optimizer: Optimizer, learned: nn.Module) -> list[str]:
    """For a loop of your own: whether an optimizer's weight decay pulls at a weighting's or likelihood's own parameters."""
    own = set(learned.parameters())
    decays = [
        group.get("weight_decay", 0.0)
        for group in optimizer.param_groups
        if own.intersection(group["params"])
    ]
    if not any(decays):
        return []
    return [
        f"The optimizer's weight_decay={max(decays)} reaches the parameters of {type(learned).__name__} and pulls its log-variances "
        "towards 0; give them a parameter group with weight_decay=0."
    ]


def _weights_without_effect(learner: Learner) -> str:
    weighting, update = learner.weighting, learner.update
    if not isinstance(weighting, Fixed) or not isinstance(update, PerTask | AdaTask):
        return ""
    if (
        update.clip
        or 0 in weighting.values
        or not all(_scale_free(optimizer) for optimizer in update.optimizers)
    ):
        return ""
    if (
        isinstance(update, PerTask) and update.decay.decay and not update.decay.decoupled
    ):  # an L2 term that it adds itself
        return ""
    groups = (
        update.groups
        if isinstance(update, PerTask)
        else [[i] for i in range(len(weighting.values))]
    )
    within = any(len({weighting.values[i] for i in group}) > 1 for group in groups)
    if within or len(set(weighting.values)) == 1:
        return ""
    kind = type(update.optimizers[0]).__name__
    return (
        f"The fixed weights {weighting.values} have no effect (but through eps): each task has its own {kind}, whose step does not "
        "depend on the size of the loss; use update=joint, or give groups of tasks."
    )


def _scale_free(optimizer: Optimizer) -> bool:
    groups = optimizer.param_groups
    coupled = any(
        group.get("weight_decay") and not is_decoupled(optimizer, group) for group in groups
    )
    warm = any(group.get("initial_accumulator_value") for group in groups)
    return (
        isinstance(optimizer, SCALE_FREE) and not coupled and not warm
    )  # an L2 term weighs more where the loss weighs less


def _equal_groups(learner: Learner) -> str:
    update = learner.update
    if not isinstance(update, Joint) or len(update.optimizers) < 2 or update.differs:
        return ""
    settings = [_settings(optimizer) for optimizer in update.optimizers]
    if any(other != settings[0] for other in settings[1:]):
        return ""
    kind = type(update.optimizers[0]).__name__
    return (
        f"update.groups makes {len(settings)} {kind} optimizers with equal settings, which equals one of them bit for bit: it works on each "
        "element by itself; change a group's lr, or leave the groups out."
    )


def _settings(optimizer: Optimizer) -> tuple[Any, ...]:
    group = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    return type(optimizer), group


def _reached_log_variances(learner: Learner, clip: float | None) -> str:
    if not learner.likelihood.predicts_noise:
        return ""
    update = learner.update
    decays = [
        group.get("weight_decay", 0.0)
        for optimizer in update.optimizers
        for group in optimizer.param_groups
    ]
    decay = update.decay.decay if isinstance(update, PerTask) else max(decays, default=0.0)
    reaching = [f"optimizer.weight_decay={decay}"] * bool(decay) + [f"trainer.clip={clip}"] * bool(
        clip
    )
    if not reaching:
        return ""
    effect = (
        "pulls them towards the trivial predictor's noise"
        if decay
        else "holds them back while a task's residuals are large"
    )
    return (
        f"{' and '.join(reaching)} also reaches the outputs that predict the log-variances, and {effect}; "
        "set it to 0 or null if sigma is what you want to know."
    )


def _free_softmax(learner: Learner) -> str:
    likelihood = learner.likelihood
    if not isinstance(likelihood, Homoscedastic):
        return ""
    for index, (task, s) in enumerate(zip(likelihood.tasks, likelihood.log_variance, strict=True)):
        free = frozenset({index}) in learner.update.parameters.owners
        if task.has_likelihood and not task.has_noise_scale and s.requires_grad and free:
            return (
                f"The exact likelihood does not weigh the classification {task.name!r}: its last layer is free, so logits and sigma^2 rescale "
                "together at the same loss; its sigma is a temperature only for frozen logits (weighting=uncertainty does weigh it)."
            )
    return ""


def _two_noise_scales(learner: Learner) -> str:
    likelihood = learner.likelihood
    learned = likelihood.predicts_noise or any(p.requires_grad for p in likelihood.parameters())
    weighed = isinstance(learner.weighting, Uncertainty) and learner.weighting.learns
    if not learned or not weighed:
        return ""
    return (
        "Both the likelihood and the weighting learn a noise scale per task, the second one of a loss that is weighed already; "
        "use weighting=fixed with this likelihood, or likelihood=standard."
    )


def _nothing_shared(experiment: Experiment) -> list[str]:
    if experiment.parameters.shared:
        return []
    why = (
        "There is only one task"
        if len(experiment.data.tasks) == 1
        else "With share=false no parameter is shared"
        if not experiment.settings.share
        else "This model shares no parameter (model=mlp does)"
    )
    found = []
    if isinstance(experiment.learner.update, Jacobian):
        found.append(f"{why}, so update=jacobian has nothing to aggregate and equals update=joint.")
    if experiment.settings.record.gradients:
        found.append(f"{why}, so record.gradients=true has no gradients to compare.")
    return found
