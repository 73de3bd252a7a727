"""The training step of a stack: that of `experiment/learner.py`, vmapped over the replicas, and their optimizers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from mtl_runner.data.inputs import InputTensors
from mtl_runner.errors.wording import out_of_memory
from mtl_runner.experiment.learner import pure_step, pure_weighting_gradients
from mtl_runner.tasks.activity import Active
from mtl_runner.train.stack.optimizers import NONE, ReplicaOptimizer, settings_of
from mtl_runner.train.stack.tensors import Stacked
from mtl_runner.train.trainer import Trainer
from mtl_runner.weighting.protocols import KeepsLosses, ObservesLosses

log = logging.getLogger("mtl_runner")

PARTS = ("model", "likelihood", "weighting")
COMPILER = ("torch._dynamo", "torch._inductor")  # whose errors mean that the step does not compile


class CannotStackError(Exception):
    """``torch.func`` does not take a model that runs by itself; the text is the reason."""


@contextlib.contextmanager
def stacking() -> Iterator[None]:
    """Around what a user's model meets only in a stack: what it raises there says that it has to run by itself."""
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise
        raise CannotStackError(
            (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
        ) from error


class StackedStep:
    """One step of every replica: the parts of all learners as stacked tensors, and optimizers over them.

    Every replica's own modules and optimizers stay what they are, with tensors that are slices of the stack; its optimizers' state lies
    with the stack's until :meth:`sync_replicas`.

    Args:
        trainers: one per replica. compiled: whether the step is compiled.

    Attributes:
        parameters, constants: ``{part: {name: [S, ...]}}``: what is trained, and what a step reads beside it.
    """

    def __init__(self, trainers: Sequence[Trainer], compiled: bool) -> None:
        self.trainers = list(trainers)
        self.first = self.trainers[0]
        learners = [trainer.learner for trainer in self.trainers]
        self.parts = {
            part: Stacked([getattr(learner, part) for learner in learners]) for part in PARTS
        }
        self.parameters = {name: part.parameters for name, part in self.parts.items()}
        self.constants = {name: part.constants for name, part in self.parts.items()}
        self.blocks = self._blocks()
        if self.first.resumed:
            for block in self.blocks:
                block.import_state()
        self.first.learner.weighting.eval()  # what it keeps of the losses it is told at the end of an epoch
        self.keeps_losses = isinstance(self.first.learner.weighting, KeepsLosses)
        self.layout = self.first.learner.layout
        self._seen: list[tuple[Active, Tensor]] = []
        self._functions: dict[tuple[int, ...], list[Callable[..., Any]]] = {}
        self._moving: dict[tuple[int, ...], dict[str, frozenset[str]]] = {}
        self._set_compiled(compiled)

    def begin_epoch(self, done: float) -> None:
        """Before an epoch that begins when ``done`` (0 to 1) of the run is over."""
        for block in self.blocks:
            block.begin_epoch(done)
        for trainer in self.trainers:
            if isinstance(weighting := trainer.learner.weighting, KeepsLosses):
                weighting.begin_epoch()

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Step the learning-rate schedulers, and tell every weighting the losses of the epoch's steps, if it keeps them."""
        for block in self.blocks:
            block.step_scheduler()
        for active, members in groupby(self._seen, key=lambda seen: seen[0]):
            losses = torch.stack([values for _, values in members], 1)[:, :, list(active.tasks)]
            for trainer, values in zip(self.trainers, losses.unbind(), strict=True):
                weighting = trainer.learner.weighting
                assert isinstance(weighting, KeepsLosses)
                weighting.accumulate(values, active.none_if_all)
        self._seen.clear()

    def sync_replicas(self, step: int, only: int | None = None) -> None:
        """Give the replicas' own optimizers (or those of one) the state that they would have after so many steps."""
        for block in self.blocks:
            block.export_state(only)
        for trainer in self.trainers:
            trainer.learner.update.at_step(step)

    def release(self, index: int) -> None:
        """Let a replica keep its tensors as they are now."""
        for part in self.parts.values():
            part.release(index)

    @torch.no_grad()
    def __call__(self, inputs: Any, targets: Any, active: Active, row: Tensor) -> None:
        """One step of all replicas; what it returns goes into the row ``[S, columns]``."""
        with stacking():
            if active.tasks not in self._functions:
                self._prepare(inputs, targets, active)
            step, *of_weighting = self._functions[active.tasks]
            values = active.tensor(next(iter(self.parameters["model"].values())))
            returned, losses, gradients = step(
                self.parameters, self.constants, inputs, targets, values
            )
        if self.keeps_losses:
            self._seen.append((active, losses.clone()))
        self.layout.put(row, returned)
        for block in self.blocks:
            if block.part == "model":
                lane = (
                    set(active.tasks)
                    if block.tasks is None
                    else set(active.tasks) & set(block.tasks)
                )
                if lane:
                    block.step(gradients["model"][block.tasks], self._idle(frozenset(lane)))
        moving = self._moving[active.tasks]
        if isinstance(self.first.learner.weighting, ObservesLosses):
            found = of_weighting[0](self.parameters, self.constants, inputs, targets, losses)
            names = [name for name in self.parameters["weighting"] if name in moving["weighting"]]
            gradients["weighting"] = dict(zip(names, found.unbind(1), strict=True))
        for block in self.blocks:
            if block.part != "model":
                idle = frozenset(block.views) - moving[block.part]
                if len(idle) < len(block.views):
                    block.step(gradients[block.part], idle)

    def _blocks(self) -> list[ReplicaOptimizer]:
        """The optimizers of the update and of what is learned beside the model, one per run of neighbours with equal settings."""
        blocks = []
        update, own = self.first.learner.update, self.first.learner.own_optimizers
        places = [("update", i) for i in range(len(update.optimizers))] + [
            ("own_optimizers", i) for i in range(len(own.optimizers))
        ]
        for place, i in places:
            twins = [getattr(trainer.learner, place).optimizers[i] for trainer in self.trainers]
            for _, members in groupby(
                range(len(twins)), key=lambda k, twins=twins: settings_of(twins[k])
            ):  # type: ignore[misc]
                indices = list(members)
                experiments = [self.trainers[k].experiment for k in indices]
                mine = [twins[k] for k in indices]
                learner = experiments[0].learner
                if place == "update":
                    assert update.optimizer_tasks is not None
                    block = ReplicaOptimizer(
                        "model",
                        self.parameters["model"],
                        indices[0],
                        experiments,
                        mine,
                        tasks=update.optimizer_tasks[i],
                    )
                else:
                    part = learner.own_optimizers.owners[i]
                    annealed = {id(o): lr for o, lr in learner.own_optimizers.annealed}
                    anneal = annealed.get(id(mine[0]))
                    block = ReplicaOptimizer(
                        part, self.parameters[part], indices[0], experiments, mine, anneal=anneal
                    )
                blocks.append(block)
        return blocks

    def _prepare(self, inputs: Any, targets: Any, active: Active) -> None:
        """At the first step of a set of active tasks: let every weighting look at its losses, and make the functions."""
        learner = self.first.learner
        forward = learner.forward_pass.pure()

        def losses_of(parameters: Any, constants: Any, inputs: Any, targets: Any) -> Any:
            model, likelihood = (
                {**parameters[part], **constants[part]} for part in ("model", "likelihood")
            )
            return forward(model, likelihood, inputs, targets)[0]

        losses = vmap(losses_of)(self.parameters, self.constants, inputs, targets)
        for trainer, values in zip(self.trainers, losses.unbind(), strict=True):
            trainer.learner.weighting.prepare(values, active.none_if_all)
        self._moving[active.tasks] = self._reached(inputs, targets, active)
        functions: list[Callable[..., Any]] = [
            vmap(pure_step(learner, active), in_dims=(0, 0, 0, 0, None))
        ]
        if isinstance(learner.weighting, ObservesLosses):
            functions.append(vmap(pure_weighting_gradients(learner, active)))
        self._functions[active.tasks] = (
            [self._compile(f) for f in functions] if self.compiled else functions
        )

    def _set_compiled(self, compiled: bool) -> None:
        self.compiled = compiled
        for trainer in self.trainers:
            trainer.compiled = compiled  # for its checkpoint: a resumed run takes the same path
        if compiled:
            torch.compiler.reset()  # another stack's functions share their code with ours, and only a few versions are kept

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compiled for full batches; the rest of the rows at the end of an epoch is not worth a compilation of its own."""
        cuda = (
            self.first.experiment.device.type == "cuda"
        )  # there a graph of the whole step is replayed
        fast = torch.compile(function, dynamic=False, mode="reduce-overhead" if cuda else None)
        size = self.first.batches.batch_size

        def call(parameters: Any, constants: Any, inputs: Any, targets: Any, last: Any) -> Any:
            rows = next(iter(targets.values())).shape[1] if targets else size
            if self.compiled and rows == size:
                try:
                    return fast(parameters, constants, inputs, targets, last)
                except Exception as error:
                    if not type(error).__module__.startswith(COMPILER):
                        raise
                    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                    log.warning("The step cannot be compiled (%s); going on without.", reason)
                    self._set_compiled(False)
            return function(parameters, constants, inputs, targets, last)

        return call

    @torch.enable_grad()
    def _reached(self, inputs: Any, targets: Any, active: Active) -> dict[str, frozenset[str]]:
        """The parameters of likelihood and weighting that move when these tasks are active: the others have no gradient at all."""
        learner = self.first.learner
        mine = InputTensors(inputs).map(lambda tensor: tensor[0])
        losses = learner.forward_pass(
            mine, {name: target[0] for name, target in targets.items()}
        ).losses
        seen = torch.stack([losses[t].detach() for t in active.tasks]).requires_grad_()
        roots = {
            "likelihood": sum(losses[t] for t in active.tasks),
            "weighting": learner.weighting(seen, active.none_if_all),
        }
        found: dict[str, frozenset[str]] = {}
        for part, root in roots.items():
            names = {
                name: p for name, p in getattr(learner, part).named_parameters() if p.requires_grad
            }
            gradients = (
                torch.autograd.grad(root, list(names.values()), allow_unused=True) if names else ()
            )
            found[part] = frozenset(
                name for name, g in zip(names, gradients, strict=True) if g is not None
            )
        if isinstance(learner.weighting, ObservesLosses):
            found["weighting"] = frozenset(
                name for t, name in enumerate(self.parameters["weighting"]) if t in active.tasks
            )
        return found

    def _idle(self, tasks: frozenset[int]) -> frozenset[str]:
        """The names of the model's parameters that none of the tasks reaches."""
        if len(tasks) == len(self.first.tasks):
            return NONE
        idle = set(self.first.experiment.parameters.idle(tasks))
        return frozenset(
            name for name, p in self.first.learner.model.named_parameters() if p in idle
        )
