"""The training step: these few lines and nothing else hides in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vjp

from mtl_runner.data.dataset import BatchGroup, Split, StandIn
from mtl_runner.experiment.conflicts import Conflicts
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.experiment.functional import clipped, pure
from mtl_runner.experiment.micro_batches import Forward, MicroBatches
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.experiment.shared_batch import forward_of_shared_batch
from mtl_runner.experiment.step_hooks import (
    GradientNormHook,
    GradientSizeHook,
    KernelTraceHook,
    LossChangeHook,
    StepHook,
)
from mtl_runner.experiment.step_record import RecordLayout, StepRecord
from mtl_runner.gradients.door import Losses, SumOverRanks
from mtl_runner.gradients.loss_scale import GradientOverflowError, LossScale
from mtl_runner.gradients.ranks import Ranks
from mtl_runner.likelihood import Likelihood
from mtl_runner.models.shared_batch_norm import SharedBatchNorm, shared_batch_norms
from mtl_runner.tasks.activity import Active
from mtl_runner.update import Update
from mtl_runner.weighting import Weighting
from mtl_runner.weighting.protocols import (
    ObservesGradients,
    ObservesLosses,
    ObservesNorms,
    ObservesTraces,
    RemembersLosses,
)


@dataclass
class Learner:
    """Everything that a training step changes: the model and the axes.

    The schedule is not among them; it has said before who is active.

    Args:
        model: From inputs to ``{task: output}``.
        likelihood: From outputs and targets to losses.
        weighting: The weight of each loss.
        update: How the weighted losses change the parameters.
        own_optimizers: Train the own parameters of weighting and likelihood.
        conflicts: Measures the gradients of the tasks at every step (``record.gradients=true``).
        part_rows: From the rows of a batch to those that go through the model at once
            (``trainer.accumulate``); None: all.
        scale: The scale of half precision; None: none.
        precision: ``trainer.precision``.
        ranks: The processes that train together, each on its rows of every batch; None: this one
            alone.

    Example:
        >>> import torch
        >>> from functools import partial
        >>> from mtl_runner.gradients.parameters import Parameters
        >>> from mtl_runner.likelihood import Standard
        >>> from mtl_runner.models import MLP
        >>> from mtl_runner.tasks.task import Task
        >>> from mtl_runner.update import Joint
        >>> from mtl_runner.weighting import Fixed
        >>> tasks, sgd = [Task("a", size=1), Task("b", size=1)], partial(torch.optim.SGD, lr=0.1)
        >>> model = MLP(tasks, (3,), hidden=(4,))
        >>> batch = Split(torch.ones(2, 3), {"a": torch.zeros(2, 1), "b": torch.zeros(2, 1)})
        >>> likelihood, weighting = Standard(tasks), Fixed(tasks, {"a": 2.0})
        >>> losses = likelihood.losses(model(batch.inputs), batch.targets)
        >>> update = Joint(Parameters.from_losses(model, losses), sgd)
        >>> learner = Learner(model, likelihood, weighting, update, OwnOptimizers(weighting, sgd))
        >>> learner.step(batch, Active.all(2)).weight
        tensor([2., 1.])
    """

    model: nn.Module
    likelihood: Likelihood
    weighting: Weighting
    update: Update
    own_optimizers: OwnOptimizers
    conflicts: Conflicts | None = None
    part_rows: Callable[[int], int] | None = None
    scale: LossScale | None = None
    precision: str = "float32"
    ranks: Ranks | None = None

    def step(self, batch: Split | BatchGroup, active: Active) -> StepRecord:
        """Take one training step.

        Args:
            batch: Inputs and targets; several batches for an update that takes several.
            active: The tasks that take part, at least one.

        Returns:
            The numbers of the step, on the device.
        """
        group = batch if isinstance(batch, BatchGroup) else BatchGroup(batch, ())
        forward = self.forward(group.first)
        try:
            for hook in self.hooks:
                hook.before_weights(forward, active)
        except GradientOverflowError:
            return self._left_out(forward, None, active)
        # Weights that are known before the losses save a pass over the parts of a batch.
        is_ahead = isinstance(forward, MicroBatches) and not self.weighting.uses_losses
        if is_ahead:
            weights = self.weighting.weights_ahead(active)
        else:
            weights, objective = self.weighting.weigh(forward.values, active)
        if active.partial:
            weights = weights * active.tensor(weights)
        measured: dict[str, Tensor] = {}
        try:
            for hook in self.hooks:
                measured |= hook.before_update(forward, weights, active)
            extra_losses = [partial(self.losses_of, batch) for batch in group.extra]
            self.update(forward.losses, weights, active, forward.recompute, extra_losses)
        except GradientOverflowError:
            return self._left_out(forward, weights, active)
        for hook in self.hooks:
            hook.after_update(forward, active)
        if self.scale is not None:
            self.scale.stepped()
        if is_ahead:
            _, objective = self.weighting.weigh(forward.values, active)
        if forward.nll is not None:
            measured["nll"] = forward.nll
        return StepRecord(
            forward.standard, weights, objective, {**measured, **self.update.measured}
        )

    def forward(self, batch: Split) -> Forward:
        """Return the losses of a batch: as a whole, or part by part.

        Args:
            batch: Inputs and targets.
        """
        if self.part_rows is not None:
            rows = self.part_rows(len(batch))
            # All processes go the same way, also one whose rows are a single part.
            if rows < len(batch) or self.over_ranks is not None:
                return MicroBatches(self.forward_pass, batch, rows, self.scale, self.over_ranks)
        if self.over_ranks is not None:
            for layer in self.shared_batch_norms:
                layer.counts = not isinstance(batch, StandIn)
            return forward_of_shared_batch(
                self.forward_pass,
                batch,
                self.over_ranks,
                recompute=self.needs_recompute,
                scale=self.scale,
            )
        return self.forward_pass.of_batch(batch, recompute=self.needs_recompute, scale=self.scale)

    def losses_of(self, batch: Split) -> Losses:
        """Return the differentiable losses of an extra batch of the step.

        Args:
            batch: Inputs and targets.
        """
        return self.forward(batch).losses

    def _left_out(self, forward: Forward, weights: Tensor | None, active: Active) -> StepRecord:
        """Return the record of a step that is left out, since a gradient was too large.

        Args:
            forward: Outputs and losses of the batch.
            weights: The weights of the step; None if they are not known yet.
            active: The tasks that take part.
        """
        assert self.scale is not None
        self.scale.overflowed()
        self.update.skip()
        weights_now, objective = self.weighting.weigh(forward.values, active)
        if weights is None:
            weights = weights_now * active.tensor(weights_now)
        measured = dict(self.layout.nothing(weights.device).measured)
        if forward.nll is not None:
            measured["nll"] = forward.nll
        return StepRecord(forward.standard, weights, objective, measured)

    @cached_property
    def forward_pass(self) -> ForwardPass:
        """The forward pass of this model and likelihood."""
        return ForwardPass(self.model, self.likelihood, self.precision)

    @cached_property
    def over_ranks(self) -> SumOverRanks | None:
        """Adds up gradients over the processes that train together; None: this one is alone."""
        if self.ranks is None:
            return None
        parameters = self.update.parameters
        return SumOverRanks(self.ranks, parameters.all_owners, parameters.shards)

    @cached_property
    def shared_batch_norms(self) -> list[SharedBatchNorm]:
        """The layers of the model that see the rows of all processes."""
        return list(shared_batch_norms(self.model))

    @cached_property
    def needs_recompute(self) -> bool:
        """Whether the losses of a batch are computed once more in a step."""
        return self.update.needs_recompute or isinstance(self.weighting, ObservesLosses)

    @cached_property
    def hooks(self) -> list[StepHook]:
        """The hooks that are called before and after the update, in this order.

        The own optimizers come last, since they step with gradients that the hooks before them set.
        """
        hooks: list[StepHook | None] = [
            GradientNormHook(self.weighting, self.update, self.weighting.norms_come_first)
            if isinstance(self.weighting, ObservesNorms)
            else None,
            GradientSizeHook(self.weighting, self.update.parameters)
            if isinstance(self.weighting, ObservesGradients)
            else None,
            KernelTraceHook(self.weighting, self.forward_pass, self.ranks)
            if isinstance(self.weighting, ObservesTraces)
            else None,
            self.conflicts,
            LossChangeHook(self.weighting) if isinstance(self.weighting, ObservesLosses) else None,
            self.own_optimizers if self.own_optimizers.optimizers else None,
        ]
        return [hook for hook in hooks if hook is not None]

    @property
    def backward_passes(self) -> float:
        """Number of backward passes of a step with all tasks, on average.

        Those of GradNorm end at the last shared weight; those of ``record.gradients`` do not count,
        nor those that a weighting takes every few steps only.
        """
        if not isinstance(self.weighting, ObservesNorms):
            return self.update.passes
        tasks, every = len(self.likelihood.tasks), self.update.every
        return self.update.passes + (tasks if every == 1 else tasks / every)

    @cached_property
    def layout(self) -> RecordLayout:
        """The fields of a step's record."""
        measured: Mapping[str, int] = {
            **self.update.fields,
            **(self.conflicts.fields if self.conflicts is not None else {}),
            **({"nll": len(self.likelihood.tasks)} if self.likelihood.has_noise else {}),
        }
        return RecordLayout(len(self.likelihood.tasks), measured)


def pure_step(learner: Learner, active: Active) -> Callable[..., tuple[Any, ...]]:
    """Return the same step as a function of its tensors, up to the optimizers.

    It is for ``torch.func.vmap`` over replicas and ``torch.compile``.

    Args:
        learner: The learner whose step it is.
        active: The tasks that take part.

    Returns:
        A function of trained parameters and constants, each ``{part: {name: tensor}}`` with the
        parts model, likelihood and weighting; a batch (inputs, targets, points); and the activation
        ``[T]``. It returns the fields of the :class:`StepRecord` by name, the training losses
        ``[T]``, the gradients of the likelihood, of the weighting, and of the model for each set of
        tasks that an optimizer of the update follows, and the buffers of the weighting that have
        changed.
    """
    weighting, update = learner.weighting, learner.update
    forward_of, objective_of = learner.forward_pass.pure(), pure(weighting)
    remember = pure(weighting, "remember") if isinstance(weighting, RemembersLosses) else None
    blocks = [
        {name for name, p in learner.model.named_parameters() if p in set(block)}
        for block in update.clip_blocks
    ]
    # Sets of tasks whose weighted losses one optimizer follows; None: all tasks.
    task_sets = list(
        dict.fromkeys(
            [
                *(update.optimizer_tasks or ()),
                *([None] if learner.own_optimizers.likelihood_parameters else []),
            ]
        )
    )

    def step(parameters: Any, constants: Any, batch: Any, values: Tensor) -> tuple[Any, ...]:
        def forward(model: Any, likelihood: Any) -> Any:
            return forward_of(
                {**model, **constants["model"]},
                {**likelihood, **constants["likelihood"]},
                batch,
            )

        def of_active(values: Tensor) -> Tensor:
            return values if active.none_idle else values[list(active.tasks)]

        def weigh(trained: Any, losses: Tensor) -> Any:
            state = {**trained, **constants["weighting"]}
            return objective_of(state, of_active(losses), active.none_if_all)

        losses, backward, recorded = vjp(
            forward, parameters["model"], parameters["likelihood"], has_aux=True
        )  # type: ignore[misc]
        (weighting_gradients, weights), objective = grad_and_value(weigh, argnums=(0, 1))(
            parameters["weighting"], losses
        )
        remembered: dict[str, Tensor] = {}
        if remember is not None:
            state = {**parameters["weighting"], **constants["weighting"]}
            remembered = remember(state, of_active(losses), of_active(weights), active.none_if_all)
        weights = weights * values
        gradients: dict[str, Any] = {
            "weighting": weighting_gradients,
            "model": {},
            "likelihood": {},
        }
        for tasks in task_sets:
            mask = [1.0 if tasks is None or t in tasks else 0.0 for t in range(len(values))]
            of_model, of_likelihood = backward(
                weights if tasks is None else weights * values.new_tensor(mask)
            )
            gradients["model"][tasks] = clipped(of_model, blocks, update.clip)
            gradients["likelihood"] = of_likelihood if tasks is None else gradients["likelihood"]
        measured = {"nll": recorded["nll"]} if "nll" in recorded else {}
        return (
            StepRecord(recorded["standard"], weights, objective, measured).fields(),
            losses,
            gradients,
            remembered,
        )

    return step


def pure_weighting_gradients(learner: Learner, active: Active) -> Callable[..., Tensor]:
    """Return how a weighting learns from the losses after the update, as a function of tensors.

    Args:
        learner: The learner; its weighting observes losses.
        active: The tasks that take part.

    Returns:
        A function of parameters, constants and a batch as in :func:`pure_step`, and the losses
        ``[T]`` before the update. It returns the gradients ``[k]`` of the weighting's
        parameters.
    """
    forward_of, gradients_of = learner.forward_pass.pure(), pure(learner.weighting, "gradients")

    def weighting_gradients(parameters: Any, constants: Any, batch: Any, before: Tensor) -> Tensor:
        state = {part: {**parameters[part], **constants[part]} for part in parameters}
        after, _ = forward_of(state["model"], state["likelihood"], batch)
        gradients: Tensor = gradients_of(state["weighting"], before, after, active.none_if_all)
        return gradients

    return weighting_gradients


def pure_norm_learning(
    learner: Learner, active: Active
) -> Callable[..., tuple[dict[str, Tensor], Tensor]]:
    """Return how a weighting learns from the norms of gradients, as a function of tensors.

    Args:
        learner: The learner; its weighting learns from norms.
        active: The tasks that take part.

    Returns:
        A function of parameters, constants and a batch as in :func:`pure_step`. It returns the new
        values of the weighting's parameters and buffers by name, and the gradients ``[k]`` of its
        parameters.
    """
    forward_of, learn = learner.forward_pass.pure(), pure(learner.weighting, "learn_from_norms")
    last_shared = set(learner.update.parameters.last_shared)
    names = [name for name, p in learner.model.named_parameters() if p in last_shared]

    def learning(parameters: Any, constants: Any, batch: Any) -> tuple[dict[str, Tensor], Tensor]:
        state = {part: {**parameters[part], **constants[part]} for part in parameters}

        def forward(shared: Any) -> Tensor:
            model = {**state["model"], **shared}
            of_batch: Tensor = forward_of(model, state["likelihood"], batch)[0]
            return of_batch

        shared = {name: state["model"][name] for name in names}
        losses, backward = vjp(forward, shared)  # type: ignore[misc]
        norms = []
        for t, direction in enumerate(torch.eye(len(losses)).to(losses)):
            parts = [gradient.norm() for gradient in backward(direction)[0].values()]
            norm = parts[0] if len(parts) == 1 else torch.stack(parts).norm()
            norms.append(norm if t in active.tasks else torch.zeros_like(norm))
        learned: tuple[dict[str, Tensor], Tensor] = learn(
            state["weighting"], torch.stack(norms), losses, active.none_if_all
        )
        return learned

    return learning
