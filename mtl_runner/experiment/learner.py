"""The training step: these few lines and nothing else hides in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vjp

from mtl_runner.data.dataset import Split
from mtl_runner.experiment.conflicts import Conflicts
from mtl_runner.experiment.functional import clipped, pure
from mtl_runner.experiment.own_parameters import OwnParameters
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks.activity import Active
from mtl_runner.update import Update
from mtl_runner.weighting import Weighting


@dataclass
class Learner:
    """What a step changes: the model and the four axes (the schedule has already said who is active)."""

    model: nn.Module
    likelihood: Likelihood
    weighting: Weighting
    update: Update
    own: OwnParameters
    conflicts: Conflicts | None = None

    def step(self, batch: Split, active: Active) -> tuple[Tensor, ...]:
        """One training step; returns the standard losses ``[T]``, the effective weights ``[T]``, the objective, and :attr:`fields`."""
        again = self._again(batch) if self.update.needs_again or self.weighting.needs_again else None
        outputs = self.model(batch.inputs)
        losses = self.likelihood.losses(outputs, batch.targets)
        values = torch.stack([loss.detach() for loss in losses])
        weights, objective = self.weighting.weigh(values, active.subset)
        if active.partial:
            weights = weights * active.tensor(weights)
        own = self.own.gradients(losses, weights, active)
        if self.weighting.needs_norms:
            self.weighting.observe_norms(self.update.parameters.norms(losses, active.tasks), values, active.subset)
        standard = self.likelihood.standard_losses(outputs, batch.targets) if self.likelihood.has_noise else values
        nll = self._nll(values, outputs, batch)
        measured = self.conflicts.measure(losses, active) if self.conflicts is not None else ()
        self.update(losses, weights, active, again)
        if self.weighting.needs_again and again is not None:
            with torch.no_grad():
                self.weighting.observe_losses(values, torch.stack(again()), active.subset)
        self.own.step(own)
        return standard, weights, objective, *self.update.measured, *measured, *nll

    @property
    def backward_passes(self) -> int:
        """Of a step with all tasks; those of GradNorm end at the last shared weight, and those of ``record.gradients`` do not count."""
        return self.update.passes + (len(self.likelihood.tasks) if self.weighting.needs_norms else 0)

    def _nll(self, values: Tensor, outputs: dict[str, Tensor], batch: Split) -> tuple[Tensor, ...]:
        """The exact negative log-likelihoods ``[T]`` where there is a noise scale: what is trained, unless ``beta`` changes it."""
        if not self.likelihood.has_noise:
            return ()
        return (values if self.likelihood.trains_nll else self.likelihood.negative_log_likelihoods(outputs, batch.targets),)

    @cached_property
    def fields(self) -> dict[str, int]:
        """Names and widths of what a step returns beside losses, weights and objective."""
        fields = dict(self.update.fields)
        if self.conflicts is not None:
            fields |= self.conflicts.fields
        return fields | ({"nll": len(self.likelihood.tasks)} if self.likelihood.has_noise else {})

    def _again(self, batch: Split) -> Callable[[], list[Tensor]]:
        """A function that recomputes the batch's losses with the same random state, on copies of the buffers (BatchNorm)."""
        device = next(self.model.parameters()).device
        cuda = [device] if device.type == "cuda" else []
        random = torch.get_rng_state()
        cuda_random = [torch.cuda.get_rng_state(d) for d in cuda]

        def recompute() -> list[Tensor]:
            with torch.random.fork_rng(devices=cuda):
                torch.set_rng_state(random)
                for d, state in zip(cuda, cuda_random, strict=True):
                    torch.cuda.set_rng_state(state, d)
                buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
                outputs = torch.func.functional_call(self.model, buffers, (batch.inputs,))
                return self.likelihood.losses(outputs, batch.targets)

        return recompute


def pure_step(learner: Learner, active: Active) -> Callable[..., tuple[Any, ...]]:
    """The same step as a function of its tensors, up to the optimizers: for ``torch.func.vmap`` over replicas and ``torch.compile``.

    It takes ``{part: {name: tensor}}`` of trained parameters and of constants (parts: model, likelihood, weighting), inputs, targets and the
    activation ``[T]``; it returns what :meth:`Learner.step` does, the training losses ``[T]``, and the gradients: of the likelihood, of the
    weighting, and of the model for each of the update's lanes.
    """
    likelihood, weighting, update = learner.likelihood, learner.weighting, learner.update
    model, losses_of, objective_of = pure(learner.model), pure(likelihood), pure(weighting)
    standard_of, exact_of = pure(likelihood, "standard_losses"), pure(likelihood, "negative_log_likelihoods")
    blocks = [{name for name, p in learner.model.named_parameters() if p in set(block)} for block in update.clip_blocks]
    lanes = list(dict.fromkeys([*(update.lanes or ()), *([None] if learner.own.noise else [])]))

    def step(parameters: Any, constants: Any, inputs: Any, targets: Any, values: Tensor) -> tuple[Any, ...]:
        def forward(own: Any, noise: Any) -> Any:
            outputs = model({**own, **constants["model"]}, inputs)
            return losses_of({**noise, **constants["likelihood"]}, outputs, targets), outputs

        def weigh(own: Any, losses: Tensor) -> Any:
            seen = losses if active.everyone else losses[list(active.tasks)]
            return objective_of({**own, **constants["weighting"]}, seen, active.subset)

        losses, pull, outputs = vjp(forward, parameters["model"], parameters["likelihood"], has_aux=True)  # type: ignore[misc]
        (own, weights), objective = grad_and_value(weigh, argnums=(0, 1))(parameters["weighting"], losses)
        weights = weights * values
        gradients: dict[str, Any] = {"weighting": own, "model": {}, "likelihood": {}}
        for lane in lanes:
            mine = [1.0 if lane is None or t in lane else 0.0 for t in range(len(values))]
            found, noise = pull(weights if lane is None else weights * values.new_tensor(mine))
            gradients["model"][lane] = clipped(found, blocks, update.clip)
            gradients["likelihood"] = noise if lane is None else gradients["likelihood"]
        if not likelihood.has_noise:
            return (losses, weights, objective), losses, gradients
        state = {**parameters["likelihood"], **constants["likelihood"]}
        nll = losses if likelihood.trains_nll else exact_of(state, outputs, targets)
        return (standard_of(state, outputs, targets), weights, objective, nll), losses, gradients

    return step


def pure_again(learner: Learner, active: Active) -> Callable[..., Tensor]:
    """Where the weighting learns from the losses after the update: the gradients ``[k]`` of its parameters, as a function of tensors."""
    model, losses_of, gradients_of = pure(learner.model), pure(learner.likelihood), pure(learner.weighting, "gradients")

    def again(parameters: Any, constants: Any, inputs: Any, targets: Any, before: Tensor) -> Tensor:
        state = {part: {**parameters[part], **constants[part]} for part in parameters}
        after = losses_of(state["likelihood"], model(state["model"], inputs), targets)
        gradients: Tensor = gradients_of(state["weighting"], before, after, active.subset)
        return gradients

    return again
