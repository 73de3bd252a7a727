"""Advice to the user on choices that do not do what one might think.

Each advice is one sentence with its reason, logged as a warning once per run; it changes nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from mtl_runner.compat.torch_modules import draws_at_random, keeps_running_statistics
from mtl_runner.config.settings import TrainerOptions
from mtl_runner.errors.words import counted
from mtl_runner.experiment.learner import Learner
from mtl_runner.likelihood import Homoscedastic
from mtl_runner.models.shared_batch_norm import SharedBatchNorm
from mtl_runner.models.vae import GaussianDraw
from mtl_runner.tasks.metrics import Metric
from mtl_runner.tasks.protocols import HasOptimum
from mtl_runner.train.epoch_record import EpochMeans
from mtl_runner.train.monitor import Monitor
from mtl_runner.train.position import short_epoch
from mtl_runner.update import AdaTask, Jacobian, Joint, PerTask
from mtl_runner.update.decay import is_decoupled
from mtl_runner.weighting import STCH, Fixed, Uncertainty

if TYPE_CHECKING:
    from mtl_runner.experiment.build import Experiment

OPTIMUM_TOLERANCE = 0.1  # distance of a log-variance from its optimum: 5 % of sigma
MANY_LABELS = 10_000_000  # that a metric which is no sum may keep without a word
LOST_SHARE = 0.1  # of the best monitor, lost until the end: more than the noise of an evaluation

# A constant factor on the gradient changes nothing in their step but the weight of eps.
SCALE_FREE = (
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.NAdam,
    torch.optim.Adamax,
    torch.optim.Adagrad,
    torch.optim.RMSprop,
)


def advice_on_setup(experiment: Experiment) -> list[str]:
    """Return advice on choices that, taken together, do not do what one might think.

    Args:
        experiment: The experiment, built and not yet trained.
    """
    learner = experiment.learner
    advice = [
        _weights_without_effect(learner),
        _equal_groups(learner),
        _reached_log_variances(learner, experiment.settings.trainer.clip),
        _free_softmax(learner),
        _two_noise_scales(learner),
        _different_in_parts(learner),
        _different_on_devices(learner),
        _nothing_to_share_out(experiment),
        *_nothing_shared(experiment),
        *_not_in_relative_loss(experiment),
        _unmeasured_nadir(experiment),
        *_rows_that_are_kept(experiment),
    ]
    return [sentence for sentence in advice if sentence]


def advice_on_losses(learner: Learner, means: EpochMeans) -> dict[str, str]:
    """Return advice on the losses of an epoch.

    Args:
        learner: The learner that made them.
        means: Means over the steps of the epoch.

    Returns:
        Sentences by a key that stays the same from epoch to epoch: the name of the task, or
        ``"total"``.
    """
    advice = {}
    losses_of_weighting = means.measured.get("nll", means.loss)
    for task, loss in zip(learner.likelihood.tasks, losses_of_weighting, strict=True):
        if loss < 0 and learner.weighting.negative_losses:
            advice[task.name] = (
                f"Task {task.name!r} has a negative loss ({loss:.3g}), which {type(learner.weighting).__name__} "
                f"{learner.weighting.negative_losses}; shift it above 0 or choose another weighting."
            )
    is_likelihood = learner.likelihood.has_noise or isinstance(learner.weighting, Uncertainty)
    if means.objective < 0 and is_likelihood:
        advice["total"] = (
            f"The total loss is negative ({means.objective:.3g}), which is legal: it is a negative log-likelihood, and a density can "
            "exceed 1; judge the run by its task losses."
        )
    return advice


def advice_on_log_variances(learner: Learner, means: EpochMeans) -> list[str]:
    """Return advice on log-variances that have not arrived at their optimum when the training ends.

    Args:
        learner: The learner at the end of the training.
        means: Means over the steps of the last epoch.
    """
    advice = []
    losses_of_weighting = means.measured.get("nll", means.loss)
    for group, owner, losses in (
        ("weighting", learner.weighting, losses_of_weighting),
        ("likelihood", learner.likelihood, means.loss),
    ):
        if not isinstance(owner, HasOptimum):
            continue
        remedy = (
            f"raise {group}.lr={owner.lr}"
            if owner.lr
            else f"give it a learning rate of its own ({group}.lr=0.025)"
        )
        for i, (task, log_variance_and_optimum) in enumerate(
            zip(learner.likelihood.tasks, owner.values_and_optima(losses), strict=True)
        ):
            if log_variance_and_optimum is None or not means.active[i] or not losses[i] > 0:
                continue
            log_variance, optimum = log_variance_and_optimum
            distance = abs(log_variance - optimum)
            if distance > OPTIMUM_TOLERANCE:
                side = "below" if log_variance < optimum else "above"
                advice.append(
                    f"The log-variance of {task.name!r} ended at {log_variance:.3f}, {distance:.2f} {side} its optimum {optimum:.3f} for the "
                    f"last epoch's loss: it has not arrived; {remedy} or train longer."
                )
    return advice


def advice_on_best(
    options: TrainerOptions, monitor: Monitor, best: tuple[float, float], final: float, epochs: int
) -> list[str]:
    """Return advice on a run whose best evaluation is long past when it ends.

    It is long past in the first half of the epochs, where the end is worse by a tenth and more.

    Args:
        options: The options of the trainer.
        monitor: The number that judges the run.
        best: The best value of the monitor, where less is better, and its epoch.
        final: The value at the end.
        epochs: The number of epochs that were trained.

    Example:
        >>> monitor, best = Monitor(None, "relative_loss"), (0.83, 3)
        >>> advice = advice_on_best(TrainerOptions(), monitor, best, final=2.5, epochs=200)
        >>> print(*advice)  # doctest: +ELLIPSIS
        The best evaluation is long past: relative_loss was 0.83 at epoch 3 of 200 and is 2.5 ...
    """
    best_value, best_epoch = best
    if not (2 * best_epoch < epochs and final - best_value > LOST_SHARE * abs(best_value)):
        return []
    way_out = (
        f"train less (trainer.epochs={math.ceil(2 * best_epoch)}) or stop early (trainer.patience)"
    )
    if options.judge == "final":
        way_out = f"{way_out}, or judge the best evaluation (trainer.judge=best)"
    was, is_now = (monitor.as_recorded(value) for value in (best_value, final))
    return [
        f"The best evaluation is long past: {monitor.name} was {was:.3g} at epoch {short_epoch(best_epoch)} of {epochs} and is {is_now:.3g} at the end; {way_out}."
    ]


def advice_on_optimizer(optimizer: Optimizer, module: nn.Module) -> list[str]:
    """Return advice on weight decay that reaches the parameters of a weighting or a likelihood.

    It is meant for a loop of your own; ``mtl-run`` gives these parameters an optimizer without
    weight decay.

    Args:
        optimizer: The optimizer of your loop.
        module: The weighting or likelihood.

    Example:
        >>> from mtl_runner.tasks.task import Task
        >>> weighting = Uncertainty([Task("depth"), Task("label")], init=0.0)
        >>> optimizer = torch.optim.AdamW(weighting.parameters(), weight_decay=0.01)
        >>> print(*advice_on_optimizer(optimizer, weighting))  # doctest: +ELLIPSIS
        The optimizer's weight_decay=0.01 reaches the parameters of Uncertainty and pulls ...
    """
    parameters = set(module.parameters())
    decays = [
        group.get("weight_decay", 0.0)
        for group in optimizer.param_groups
        if parameters.intersection(group["params"])
    ]
    if not any(decays):
        return []
    return [
        f"The optimizer's weight_decay={max(decays)} reaches the parameters of {type(module).__name__} and pulls its log-variances "
        "towards 0; give them a parameter group with weight_decay=0."
    ]


def _weights_without_effect(learner: Learner) -> str:
    """Return advice on fixed weights that the optimizers of single tasks divide out again."""
    weighting, update = learner.weighting, learner.update
    if not isinstance(weighting, Fixed) or not isinstance(update, PerTask | AdaTask):
        return ""
    if (
        update.clip
        or 0 in weighting.values
        or not all(_is_scale_free(optimizer) for optimizer in update.optimizers)
    ):
        return ""
    # An L2 term that the update adds itself is not scaled with the loss.
    if (
        isinstance(update, PerTask)
        and update.group_optimizers.largest_decay
        and not update.group_optimizers.decoupled
    ):
        return ""
    groups = (
        update.groups
        if isinstance(update, PerTask)
        else [[i] for i in range(len(weighting.values))]
    )
    differ_within_group = any(len({weighting.values[i] for i in group}) > 1 for group in groups)
    if differ_within_group or len(set(weighting.values)) == 1:
        return ""
    kind = type(update.optimizers[0]).__name__
    return (
        f"The fixed weights {weighting.values} have no effect (but through eps): each task has its own {kind}, whose step does not "
        "depend on the size of the loss; use update=joint, or give groups of tasks."
    )


def _is_scale_free(optimizer: Optimizer) -> bool:
    """Return whether a constant factor on the loss leaves an optimizer's step as it is.

    An L2 term weighs more where the loss weighs less, and so does an initial accumulator.
    """
    groups = optimizer.param_groups
    coupled = any(
        group.get("weight_decay") and not is_decoupled(optimizer, group) for group in groups
    )
    accumulated = any(group.get("initial_accumulator_value") for group in groups)
    return isinstance(optimizer, SCALE_FREE) and not coupled and not accumulated


def _equal_groups(learner: Learner) -> str:
    """Return advice on groups of parameters whose optimizers all have the same settings."""
    update = learner.update
    if not isinstance(update, Joint) or len(update.optimizers) < 2 or update.differs:
        return ""
    settings = [_class_and_options(optimizer) for optimizer in update.optimizers]
    if any(other_settings != settings[0] for other_settings in settings[1:]):
        return ""
    kind = type(update.optimizers[0]).__name__
    return (
        f"update.groups makes {len(settings)} {kind} optimizers with equal settings, which equals one of them bit for bit: it works on each "
        "element by itself; change a group's lr, or leave the groups out."
    )


def _class_and_options(optimizer: Optimizer) -> tuple[Any, ...]:
    group = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    return type(optimizer), group


def _reached_log_variances(learner: Learner, clip: float | None) -> str:
    """Return advice on decay or clipping that reaches the outputs that predict the noise."""
    if not learner.likelihood.predicts_noise:
        return ""
    update = learner.update
    decays = [
        group.get("weight_decay", 0.0)
        for optimizer in update.optimizers
        for group in optimizer.param_groups
    ]
    decay = (
        update.group_optimizers.largest_decay
        if isinstance(update, PerTask)
        else max(decays, default=0.0)
    )
    causes = [f"optimizer.weight_decay={decay}"] * bool(decay)
    causes += [f"trainer.clip={clip}"] * bool(clip)
    if not causes:
        return ""
    effect = (
        "pulls them towards the trivial predictor's noise"
        if decay
        else "holds them back while a task's residuals are large"
    )
    return (
        f"{' and '.join(causes)} also reaches the outputs that predict the log-variances, and {effect}; "
        "set it to 0 or null if sigma is what you want to know."
    )


def _different_in_parts(learner: Learner) -> str:
    """Return advice on what is not the same if a batch goes through the model in parts."""
    if learner.part_rows is None:
        return ""
    modules = list(learner.model.modules())
    reasons = [
        "batch normalisation sees the rows of a part" * any(map(keeps_running_statistics, modules)),
        "dropout draws part by part" * any(map(draws_at_random, modules)),
        "the model draws its noise part by part" * any(map(_draws_noise, modules)),
        *(
            f"the loss term {task.name!r} sees the rows of a part"
            for task in learner.likelihood.tasks
            if task.loss_term is not None and task.points is None
        ),
    ]
    differences = " and ".join(reason for reason in reasons if reason)
    if not differences:
        return ""
    return f"trainer.accumulate equals whole batches except that {differences}; the result differs by that."


def _draws_noise(module: nn.Module) -> bool:
    return isinstance(module, GaussianDraw)


def _different_on_devices(learner: Learner) -> str:
    """Return advice on what is not the same if several processes share a batch."""
    if learner.ranks is None:
        return ""
    modules = list(learner.model.modules())
    # In parts of a batch it has been said already.
    own_rows = learner.part_rows is None and any(
        keeps_running_statistics(module) and not isinstance(module, SharedBatchNorm)
        for module in modules
    )
    reasons = [
        "a normalisation of its own class sees the rows of its process" * own_rows,
        "dropout draws in each process by itself" * any(map(draws_at_random, modules)),
        "the model draws its noise in each process by itself" * any(map(_draws_noise, modules)),
        *(
            f"the loss term {task.name!r} is taken over the rows of each process, and averaged"
            for task in learner.likelihood.tasks
            if task.loss_term is not None and task.points is None
        ),
    ]
    differences = " and ".join(reason for reason in reasons if reason)
    if not differences:
        return ""
    return f"trainer.devices={learner.ranks.size} equals one device except that {differences}; the result differs by that."


def _nothing_to_share_out(experiment: Experiment) -> str:
    """Return advice on sharding a model over one process."""
    if experiment.ranks is None and experiment.settings.trainer.parallel == "fsdp":
        return "trainer.parallel=fsdp has no effect on one device, which keeps the whole model; set trainer.devices, or start the run by torchrun."
    return ""


def _free_softmax(learner: Learner) -> str:
    """Return advice on a temperature that the last layer of a classification can undo."""
    likelihood = learner.likelihood
    if not isinstance(likelihood, Homoscedastic):
        return ""
    for index, (task, s) in enumerate(zip(likelihood.tasks, likelihood.log_variance, strict=True)):
        is_free = frozenset({index}) in learner.update.parameters.owners
        if task.has_likelihood and not task.has_noise_scale and s.requires_grad and is_free:
            return (
                f"The exact likelihood does not weigh the classification {task.name!r}: its last layer is free, so logits and sigma^2 rescale "
                "together at the same loss; its sigma is a temperature only for frozen logits (weighting=uncertainty does weigh it)."
            )
    return ""


def _two_noise_scales(learner: Learner) -> str:
    """Return advice on a noise scale that both the likelihood and the weighting learn."""
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
    """Return advice on methods that need shared parameters, where a model shares none."""
    if experiment.parameters.shared:
        return []
    reason = (
        "There is only one task"
        if len(experiment.data.tasks) == 1
        else "With share=false no parameter is shared"
        if not experiment.settings.share
        else "This model shares no parameter (model=mlp does)"
    )
    advice = []
    if isinstance(experiment.learner.update, Jacobian):
        advice.append(
            f"{reason}, so update=jacobian has nothing to aggregate and equals update=joint."
        )
    if experiment.settings.record.gradients:
        advice.append(f"{reason}, so record.gradients=true has no gradients to compare.")
    return advice


def _not_in_relative_loss(experiment: Experiment) -> list[str]:
    """Return advice on tasks whose loss cannot be compared with that of the trivial predictor."""
    losses = experiment.trivial_losses("val")
    return [
        f"Task {task.name!r} does not count in relative_loss: the trivial predictor's validation loss is not above 0, "
        "since the targets are constant or the loss can be negative; judge it by its own columns."
        for task, loss in zip(experiment.data.tasks, losses, strict=True)
        if loss is None and task.has_target and task.loss_term is None
    ]


def _rows_that_are_kept(experiment: Experiment) -> list[str]:
    """Return advice on metrics that keep every row of a large validation split."""
    split, advice = experiment.data.splits["val"], []
    for task in experiment.data.tasks:
        names = [m.name for m in task.all_metrics if isinstance(m, Metric) and m.collects]
        if not names or not task.has_target:
            continue
        # A row may hold a label per pixel.
        labels = len(split) * split.rows(slice(0, 1)).targets[task.name][0].numel()
        if labels > MANY_LABELS:
            advice.append(
                f"{' and '.join(names)} of {task.name!r} {'is' if len(names) == 1 else 'are'} exact and no sum: every evaluation keeps score and label of {labels:,} labels in memory; "
                f"measure something else (data.metrics.{task.name}), or make the validation split smaller."
            )
    return advice


def _unmeasured_nadir(experiment: Experiment) -> str:
    """Return advice on a warm-up that is not over before the run."""
    weighting, epochs = experiment.learner.weighting, experiment.settings.trainer.epochs
    if (
        not isinstance(weighting, STCH)
        or weighting.form != "log_nadir"
        or weighting.has_nadir
        or weighting.warmup_epochs < epochs
    ):
        return ""
    return (
        f"weighting.warmup_epochs={weighting.warmup_epochs} leaves nothing of the {counted(epochs, 'epoch')}: the nadir is measured at the end of the "
        "warm-up, and until then the objective is the sum of the losses' logarithms; lower it, or give weighting.nadir."
    )
