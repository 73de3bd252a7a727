"""The training step of a stack: the learner's step vmapped over replicas, and their optimizers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import Inputs
from mtl_runner.errors.messages import out_of_memory
from mtl_runner.experiment.learner import (
    pure_norm_learning,
    pure_step,
    pure_weighting_gradients,
)
from mtl_runner.tasks.activity import Active
from mtl_runner.train.epoch_record import UnfinishedEpoch, give_losses
from mtl_runner.train.stack.stacked_modules import StackedModules
from mtl_runner.train.stack.stacked_optimizer import NO_NAMES, StackedOptimizer, optimizer_key
from mtl_runner.train.trainer import Trainer
from mtl_runner.weighting.protocols import (
    DrawsNumbers,
    KeepsLosses,
    LearnsFromNorms,
    ObservesLosses,
)

log = logging.getLogger("mtl_runner")

#: Inputs, targets by task and points by loss term of every replica, ``[S, n, ...]`` each.
StackedBatch = tuple[Inputs, dict[str, Tensor], dict[str, Inputs]]

PARTS = ("model", "likelihood", "weighting")
COMPILER = ("torch._dynamo", "torch._inductor")  # their errors mean that the step does not compile


class CannotStackError(Exception):
    """Raised if ``torch.func`` does not take a model that runs alone; the text is the reason."""


@contextlib.contextmanager
def cannot_stack_on_error() -> Iterator[None]:
    """Turn errors of code that a model meets only in a stack into :class:`CannotStackError`.

    Running out of memory stays the error that it is.

    Example:
        >>> with cannot_stack_on_error():
        ...     raise ValueError("vmap takes no such thing.")
        Traceback (most recent call last):
        ...
        mtl_runner.train.stack.stacked_step.CannotStackError: vmap takes no such thing
    """
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise
        raise CannotStackError(
            (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
        ) from error


class StackedStep:
    """Takes one training step of every replica at once.

    The models, likelihoods and weightings of all replicas are stacked tensors, with optimizers over
    them. Every replica keeps its own modules, whose tensors are slices of the stack, and its own
    optimizers, whose state is up to date only after :meth:`sync_replicas`.

    Args:
        trainers: The trainer of each replica.
        compiled: Whether the step is compiled.

    Attributes:
        parameters: What is trained, by part and name, ``[S, ...]``.
        constants: What a step reads but does not train, by part and name, ``[S, ...]``.
        compiled: Whether the step is compiled; False once a compilation has failed.
    """

    def __init__(self, trainers: Sequence[Trainer], compiled: bool) -> None:
        self.trainers = list(trainers)
        self.first = self.trainers[0]
        learners = [trainer.learner for trainer in self.trainers]
        self.parts = {
            part: StackedModules([getattr(learner, part) for learner in learners]) for part in PARTS
        }
        self.parameters = {name: part.parameters for name, part in self.parts.items()}
        self.constants = {name: part.constants for name, part in self.parts.items()}
        self.optimizers = self._make_optimizers()
        if self.first.step:
            for optimizer in self.optimizers:
                optimizer.import_state()
        # In evaluation mode it keeps no losses by itself: it is told them at the end of an epoch.
        self.first.learner.weighting.eval()
        self.draws = isinstance(self.first.learner.weighting, DrawsNumbers)
        if isinstance(self.first.learner.weighting, DrawsNumbers):
            self.first.learner.weighting.draws_ahead = True
        self.keeps_losses = isinstance(self.first.learner.weighting, KeepsLosses)
        self.layout = self.first.learner.layout
        self._kept_losses: list[tuple[Active, Tensor]] = []
        self._functions: dict[tuple[int, ...], list[Callable[..., Any]]] = {}
        self._moving: dict[tuple[int, ...], dict[str, frozenset[str]]] = {}
        self._set_compiled(compiled)

    def begin_epoch(self, done: float, unfinished: Sequence[UnfinishedEpoch] = ()) -> None:
        """Set annealed learning rates, and tell the weightings that an epoch begins.

        Args:
            done: Share of the run that is over, 0 to 1.
            unfinished: The steps of every replica in the epoch, if the stack goes on inside it.
        """
        for optimizer in self.optimizers:
            optimizer.begin_epoch(done)
        if not self.keeps_losses:
            return
        kept = [epoch.with_actives() for epoch in unfinished]
        together = len({len(steps) for steps in kept}) == 1
        if together:
            self._kept_losses = [
                (steps[0][0], torch.stack([losses for _, losses in steps]))
                for steps in zip(*kept, strict=True)
            ]
        for k, trainer in enumerate(self.trainers):
            weighting = trainer.learner.weighting
            assert isinstance(weighting, KeepsLosses)
            if not unfinished:
                weighting.begin_epoch()
            elif not together:
                # Some of the runs were trained alone, where a weighting gets its losses at once.
                give_losses(weighting, kept[k])

    def kept_losses(self, index: int) -> Tensor | None:
        """Return the losses ``[n, T]`` that a replica's weighting gets at the end of the epoch.

        Args:
            index: Index of the replica.
        """
        if not self._kept_losses:
            return None
        return torch.stack([losses[index] for _, losses in self._kept_losses]).cpu()

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Step the learning-rate schedulers, and give weightings the losses that they keep."""
        for optimizer in self.optimizers:
            optimizer.step_scheduler()
        for active, steps in groupby(self._kept_losses, key=lambda kept: kept[0]):
            losses = torch.stack([values for _, values in steps], 1)[:, :, list(active.tasks)]
            for trainer, values in zip(self.trainers, losses.unbind(), strict=True):
                weighting = trainer.learner.weighting
                assert isinstance(weighting, KeepsLosses)
                weighting.accumulate(values, active.none_if_all)
        self._kept_losses.clear()

    def sync_replicas(self, step: int, only: int | None = None) -> None:
        """Give the optimizers and updates of the replicas the state of single runs.

        Args:
            step: Number of steps that are trained.
            only: Index of the only replica whose optimizers are updated; None for all.
        """
        for optimizer in self.optimizers:
            optimizer.export_state(only)
        for trainer in self.trainers:
            trainer.learner.update.at_step(step)

    def release(self, index: int) -> None:
        """Let a replica keep its tensors as they are now, whatever the stack does from here on."""
        for part in self.parts.values():
            part.release(index)

    @torch.no_grad()
    def __call__(self, batch: StackedBatch, active: Active, row: Tensor) -> None:
        """Take one step of all replicas.

        Args:
            batch: The batch of each replica: inputs, targets by task, and points by loss term,
                ``[S, n, ...]`` each.
            active: The active tasks, the same for all replicas.
            row: Row ``[S, columns]`` of the record, which the step fills.
        """
        with cannot_stack_on_error():
            if active.tasks not in self._functions:
                self._prepare(batch, active)
            if self.draws:
                self._draw()
            step, *weighting_gradients = self._functions[active.tasks]
            norms_come_first = self.first.learner.weighting.norms_come_first
            if norms_come_first:
                self._learn_from_norms(
                    weighting_gradients[0](self.parameters, self.constants, batch)
                )
            values = active.tensor(next(iter(self.parameters["model"].values())))
            fields, losses, gradients, remembered = step(
                self.parameters, self.constants, batch, values
            )
        for name, value in remembered.items():
            self.constants["weighting"][name].copy_(value)
        if self.keeps_losses:
            self._kept_losses.append((active, losses.clone()))
        self.layout.put(row, fields)
        moving = self._moving[active.tasks]
        learned = [name for name in self.parameters["weighting"] if name in moving["weighting"]]
        if isinstance(self.first.learner.weighting, LearnsFromNorms) and not norms_come_first:
            # Before the update, as a single run.
            slopes = self._learn_from_norms(
                weighting_gradients[0](self.parameters, self.constants, batch)
            )
            gradients["weighting"] = dict(zip(learned, slopes.unbind(1), strict=True))
        for optimizer in self.optimizers:
            if optimizer.part == "model":
                tasks = (
                    set(active.tasks)
                    if optimizer.tasks is None
                    else set(active.tasks) & set(optimizer.tasks)
                )
                if tasks:
                    idle = self._idle_parameters(frozenset(tasks))
                    optimizer.step(gradients["model"][optimizer.tasks], idle)
        if isinstance(self.first.learner.weighting, ObservesLosses):
            stacked = weighting_gradients[0](self.parameters, self.constants, batch, losses)
            gradients["weighting"] = dict(zip(learned, stacked.unbind(1), strict=True))
        for optimizer in self.optimizers:
            if optimizer.part != "model":
                idle = frozenset(optimizer.views) - moving[optimizer.part]
                if len(idle) < len(optimizer.views):
                    optimizer.step(gradients[optimizer.part], idle)

    def _learn_from_norms(self, learned: tuple[dict[str, Tensor], Tensor]) -> Tensor:
        """Set what the weightings have learned from norms; return the gradients ``[S, k]``."""
        values, slopes = learned
        tensors = {**self.parameters["weighting"], **self.constants["weighting"]}
        for name, value in values.items():
            tensors[name].copy_(value)
        return slopes

    def _draw(self) -> None:
        """Draw the random numbers of a step, each replica with its own generator."""
        for trainer in self.trainers:
            assert isinstance(trainer.learner.weighting, DrawsNumbers)
            trainer.learner.weighting.draw()

    def _make_optimizers(self) -> list[StackedOptimizer]:
        """Make the optimizers of the update and of what is learned beside the model.

        Each serves a run of neighbouring replicas whose settings are equal.
        """
        optimizers = []
        update, own_optimizers = self.first.learner.update, self.first.learner.own_optimizers
        places = [("update", i) for i in range(len(update.optimizers))] + [
            ("own_optimizers", i) for i in range(len(own_optimizers.optimizers))
        ]
        for place, i in places:
            replica_optimizers = [
                getattr(trainer.learner, place).optimizers[i] for trainer in self.trainers
            ]
            keys = [optimizer_key(optimizer) for optimizer in replica_optimizers]
            for _, neighbours in groupby(range(len(keys)), key=keys.__getitem__):
                indices = list(neighbours)
                experiments = [self.trainers[k].experiment for k in indices]
                served = [replica_optimizers[k] for k in indices]
                learner = experiments[0].learner
                if place == "update":
                    assert update.optimizer_tasks is not None
                    optimizer = StackedOptimizer(
                        "model",
                        self.parameters["model"],
                        indices[0],
                        experiments,
                        served,
                        tasks=update.optimizer_tasks[i],
                    )
                else:
                    part = learner.own_optimizers.owners[i]
                    annealed = {id(o): lr for o, lr in learner.own_optimizers.annealed}
                    optimizer = StackedOptimizer(
                        part,
                        self.parameters[part],
                        indices[0],
                        experiments,
                        served,
                        annealed_lr=annealed.get(id(served[0])),
                    )
                optimizers.append(optimizer)
        return optimizers

    def _prepare(self, batch: StackedBatch, active: Active) -> None:
        """Prepare the first step of a set of active tasks.

        Every weighting looks at the losses of its replica, and the functions of the step are made.
        """
        learner = self.first.learner
        forward = learner.forward_pass.pure()

        def losses_of(parameters: Any, constants: Any, batch: Any) -> Any:
            model, likelihood = (
                {**parameters[part], **constants[part]} for part in ("model", "likelihood")
            )
            return forward(model, likelihood, batch)[0]

        losses = vmap(losses_of)(self.parameters, self.constants, batch)
        for trainer, values in zip(self.trainers, losses.unbind(), strict=True):
            trainer.learner.weighting.prepare(values, active.none_if_all)
        self._moving[active.tasks] = self._moving_parameters(batch, active)
        functions: list[Callable[..., Any]] = [
            vmap(pure_step(learner, active), in_dims=(0, 0, 0, None))
        ]
        if isinstance(learner.weighting, ObservesLosses):
            functions.append(vmap(pure_weighting_gradients(learner, active)))
        if isinstance(learner.weighting, LearnsFromNorms):
            functions.append(vmap(pure_norm_learning(learner, active)))
        self._functions[active.tasks] = (
            [self._compile(function) for function in functions] if self.compiled else functions
        )

    def _set_compiled(self, compiled: bool) -> None:
        """Set whether the step is compiled, in the checkpoints too: a resumed run does the same."""
        self.compiled = compiled
        for trainer in self.trainers:
            trainer.compiled = compiled
        if compiled:
            # Functions of an earlier stack share their code with these; few versions are kept.
            torch.compiler.reset()

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is compiled for full batches.

        The smaller batch at the end of an epoch is not worth a compilation of its own.
        """
        # On a GPU a graph of the whole step is replayed.
        mode = "reduce-overhead" if self.first.experiment.device.type == "cuda" else None
        compiled_function = torch.compile(function, dynamic=False, mode=mode)
        size = self.first.batches.batch_size

        def call(parameters: Any, constants: Any, batch: StackedBatch, *task_values: Any) -> Any:
            targets = batch[1]
            rows = next(iter(targets.values())).shape[1] if targets else size
            if self.compiled and rows == size:
                try:
                    return compiled_function(parameters, constants, batch, *task_values)
                except Exception as error:
                    if not type(error).__module__.startswith(COMPILER):
                        raise
                    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                    log.warning("The step cannot be compiled (%s); going on without.", reason)
                    self._set_compiled(False)
            return function(parameters, constants, batch, *task_values)

        return call

    @torch.enable_grad()
    def _moving_parameters(self, batch: StackedBatch, active: Active) -> dict[str, frozenset[str]]:
        """Return the names of the parameters that have a gradient when some tasks are active.

        Returns:
            The names by part, for likelihood and weighting.
        """
        learner = self.first.learner
        inputs, targets, points = batch
        first = Split(inputs, targets, points=points).apply(lambda tensor: tensor[0])
        losses = learner.forward_pass.of_rows(first).losses
        active_losses = torch.stack([losses[t].detach() for t in active.tasks]).requires_grad_()
        roots = {
            "likelihood": sum(losses[t] for t in active.tasks),
            "weighting": learner.weighting(active_losses, active.none_if_all),
        }
        moving: dict[str, frozenset[str]] = {}
        for part, root in roots.items():
            parameters = {
                name: p for name, p in getattr(learner, part).named_parameters() if p.requires_grad
            }
            gradients = (
                torch.autograd.grad(root, list(parameters.values()), allow_unused=True)
                if parameters
                else ()
            )
            moving[part] = frozenset(
                name
                for name, gradient in zip(parameters, gradients, strict=True)
                if gradient is not None
            )
        if isinstance(learner.weighting, ObservesLosses | LearnsFromNorms):
            moving["weighting"] = frozenset(
                name for t, name in enumerate(self.parameters["weighting"]) if t in active.tasks
            )
        return moving

    def _idle_parameters(self, tasks: frozenset[int]) -> frozenset[str]:
        """Return the names of the model's parameters that none of some tasks reaches."""
        if len(tasks) == len(self.first.tasks):
            return NO_NAMES
        idle = set(self.first.experiment.parameters.idle(tasks))
        return frozenset(
            name for name, p in self.first.learner.model.named_parameters() if p in idle
        )
