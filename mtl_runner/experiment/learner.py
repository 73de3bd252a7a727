"""The training step: these few lines and nothing else hides in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.func import grad_and_value, vjp

from mtl_runner.data.dataset import Split
from mtl_runner.experiment.conflicts import Conflicts
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.experiment.functional import clipped, pure
from mtl_runner.experiment.own_optimizers import OwnOptimizers
from mtl_runner.experiment.step_hooks import LossesAfter, NormsBefore, StepHook
from mtl_runner.experiment.step_record import RecordLayout, StepRecord
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks.activity import Active
from mtl_runner.update import Update
from mtl_runner.weighting import Weighting
from mtl_runner.weighting.protocols import ObservesLosses, ObservesNorms


@dataclass
class Learner:
    """What a step changes: the model and the four axes (the schedule has already said who is active).

    Args:
        model: From inputs to ``{task: output}``.
        likelihood: From outputs and targets to losses.
        weighting: What each loss is worth.
        update: How the weighted losses change the parameters.
        own_optimizers: Train the own parameters of weighting and likelihood.
        conflicts: Measures the gradients of the tasks at every step (``record.gradients=true``).
    """

    model: nn.Module
    likelihood: Likelihood
    weighting: Weighting
    update: Update
    own_optimizers: OwnOptimizers
    conflicts: Conflicts | None = None

    def step(self, batch: Split, active: Active) -> StepRecord:
        """One training step on a batch in which some task is active."""
        forward = self.forward_pass.of_batch(batch, recompute=self.needs_recompute)
        weights, objective = self.weighting.weigh(forward.values, active)
        if active.partial:
            weights = weights * active.tensor(weights)
        measured: dict[str, Tensor] = {} if forward.nll is None else {"nll": forward.nll}
        for hook in self.hooks:
            measured |= hook.before_update(forward, weights, active)
        self.update(forward.losses, weights, active, forward.recompute)
        for hook in self.hooks:
            hook.after_update(forward, active)
        return StepRecord(
            forward.standard, weights, objective, {**measured, **self.update.measured}
        )

    @cached_property
    def forward_pass(self) -> ForwardPass:
        """The forward pass of this model and likelihood."""
        return ForwardPass(self.model, self.likelihood)

    @cached_property
    def needs_recompute(self) -> bool:
        """Whether the losses of a batch are computed once more in a step."""
        return self.update.needs_recompute or isinstance(self.weighting, ObservesLosses)

    @cached_property
    def hooks(self) -> list[StepHook]:
        """Who looks at a step before and after its update, in this order."""
        found: list[StepHook | None] = [
            NormsBefore(self.weighting, self.update.parameters)
            if isinstance(self.weighting, ObservesNorms)
            else None,
            self.conflicts,
            LossesAfter(self.weighting) if isinstance(self.weighting, ObservesLosses) else None,
            # the last, since it steps with gradients that those before it set:
            self.own_optimizers if self.own_optimizers.optimizers else None,
        ]
        return [hook for hook in found if hook is not None]

    @property
    def backward_passes(self) -> int:
        """Number of backward passes of a step with all tasks; those of GradNorm end at the last shared weight, and those of ``record.gradients`` do not count."""
        return self.update.passes + (
            len(self.likelihood.tasks) if isinstance(self.weighting, ObservesNorms) else 0
        )

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
    """The same step as a function of its tensors, up to the optimizers: for ``torch.func.vmap`` over replicas and ``torch.compile``.

    It takes ``{part: {name: tensor}}`` of trained parameters and of constants (parts: model, likelihood, weighting), inputs, targets and the
    activation ``[T]``; it returns the fields of the :class:`StepRecord` by name, the training losses ``[T]``, and the gradients: of the
    likelihood, of the weighting, and of the model for each of the update's lanes.
    """
    weighting, update = learner.weighting, learner.update
    forward_of, objective_of = learner.forward_pass.pure(), pure(weighting)
    blocks = [
        {name for name, p in learner.model.named_parameters() if p in set(block)}
        for block in update.clip_blocks
    ]
    lanes = list(
        dict.fromkeys(
            [
                *(update.optimizer_tasks or ()),
                *([None] if learner.own_optimizers.likelihood_parameters else []),
            ]
        )
    )

    def step(
        parameters: Any, constants: Any, inputs: Any, targets: Any, values: Tensor
    ) -> tuple[Any, ...]:
        def forward(own: Any, noise: Any) -> Any:
            return forward_of(
                {**own, **constants["model"]}, {**noise, **constants["likelihood"]}, inputs, targets
            )

        def weigh(own: Any, losses: Tensor) -> Any:
            seen = losses if active.everyone else losses[list(active.tasks)]
            return objective_of({**own, **constants["weighting"]}, seen, active.none_if_all)

        losses, pull, found = vjp(
            forward, parameters["model"], parameters["likelihood"], has_aux=True
        )  # type: ignore[misc]
        (own, weights), objective = grad_and_value(weigh, argnums=(0, 1))(
            parameters["weighting"], losses
        )
        weights = weights * values
        gradients: dict[str, Any] = {"weighting": own, "model": {}, "likelihood": {}}
        for lane in lanes:
            mask = [1.0 if lane is None or t in lane else 0.0 for t in range(len(values))]
            of_model, of_likelihood = pull(
                weights if lane is None else weights * values.new_tensor(mask)
            )
            gradients["model"][lane] = clipped(of_model, blocks, update.clip)
            gradients["likelihood"] = of_likelihood if lane is None else gradients["likelihood"]
        measured = {"nll": found["nll"]} if "nll" in found else {}
        return (
            StepRecord(found["standard"], weights, objective, measured).fields(),
            losses,
            gradients,
        )

    return step


def pure_weighting_gradients(learner: Learner, active: Active) -> Callable[..., Tensor]:
    """Where the weighting learns from the losses after the update: the gradients ``[k]`` of its parameters, as a function of tensors."""
    forward_of, gradients_of = learner.forward_pass.pure(), pure(learner.weighting, "gradients")

    def again(parameters: Any, constants: Any, inputs: Any, targets: Any, before: Tensor) -> Tensor:
        state = {part: {**parameters[part], **constants[part]} for part in parameters}
        after, _ = forward_of(state["model"], state["likelihood"], inputs, targets)
        gradients: Tensor = gradients_of(state["weighting"], before, after, active.none_if_all)
        return gradients

    return again
