"""The loop of a stack: what `train.py` does for one run, for many at once."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from mtl_runner import checkpoint
from mtl_runner.evaluate import Evaluation, as_evaluation, measurements
from mtl_runner.functional import pure
from mtl_runner.likelihood import Likelihood
from mtl_runner.stack.data import StackedSplit, cut
from mtl_runner.stack.optimizers import NONE, Block, settings_of
from mtl_runner.stack.tensors import Stacked
from mtl_runner.step import pure_again, pure_step
from mtl_runner.totals import EpochMeans, EpochRecord, check_finite
from mtl_runner.train import Interrupted, Trainer
from mtl_runner.update import Active

log = logging.getLogger("mtl_runner")

PARTS = ("model", "likelihood", "weighting")
SNAPSHOTS = 4  # how often in a run its files are written, at least
SNAPSHOT_STEPS = 5000  # and at least every so many steps
GATHERED = 2**28  # bytes of batches that are gathered at once
EVALUATED = 2**24  # rows times replicas that go through the model at once in an evaluation


class Stack:
    """Trains many runs that differ only in numbers, as one.

    Every replica keeps its own :class:`~mtl_runner.train.Trainer`, whose model, likelihood and weighting become slices of the stack, so
    that records, checkpoints and the end of a run are those of a single one.

    Args:
        trainers: one per run, built as for a single run and alike (:mod:`mtl_runner.stack.alike`), at the same epoch.
        compiled: whether the step is compiled. on_replica: called before something is done, and perhaps said, for one replica.
        snapshots: whether files are written a few times in a run, not at every evaluation.
    """

    def __init__(
        self,
        trainers: Sequence[Trainer],
        compiled: bool = False,
        on_replica: Callable[[int], None] | None = None,
        snapshots: bool = True,
    ) -> None:
        self.trainers = list(trainers)
        self.first = self.trainers[0]
        self.tasks = self.first.tasks
        self.settings = self.first.settings
        self.on_replica, self.snapshots = on_replica, snapshots
        self.on_epoch: Callable[[int, float], None] | None = None  # told at the end of every epoch: epoch, mean objective
        self._set_compiled(compiled)
        learners = [trainer.learner for trainer in self.trainers]
        self.parts = {part: Stacked([getattr(learner, part) for learner in learners]) for part in PARTS}
        self.parameters = {name: part.parameters for name, part in self.parts.items()}
        self.constants = {name: part.constants for name, part in self.parts.items()}
        self.blocks = self._blocks()
        if self.first.resumed:
            for block in self.blocks:
                block.from_twins()
        self.train = StackedSplit([trainer.experiment.data.splits["train"] for trainer in self.trainers])
        self.val = StackedSplit([trainer.experiment.data.splits["val"] for trainer in self.trainers])
        # Metrics in units of their own, which are numbers, not tensors, cannot be taken of all at once.
        self.together = not learners[0].likelihood.predicts_noise and all(t.tasks == self.tasks for t in self.trainers)
        self.live = set(range(len(self.trainers)))
        self.failed: dict[int, Exception] = {}
        self.stop = False  # set by a signal handler; honoured at the next evaluated epoch
        self.epoch, self.step = self.first.epoch, self.first.step
        self._functions: dict[tuple[int, ...], tuple[Callable[..., Any], Callable[..., Any]]] = {}
        self._moving: dict[tuple[int, ...], dict[str, frozenset[str]]] = {}
        self._keys: list[tuple[str, str]] = []

    def _blocks(self) -> list[Block]:
        """The optimizers of the update and of what is learned beside the model, one per run of neighbours with equal settings."""
        blocks = []
        update, own = self.first.learner.update, self.first.learner.own
        places = [("update", i) for i in range(len(update.optimizers))] + [("own", i) for i in range(len(own.optimizers))]
        for place, i in places:
            twins = [getattr(trainer.learner, place).optimizers[i] for trainer in self.trainers]
            for _, members in groupby(range(len(twins)), key=lambda k, twins=twins: settings_of(twins[k])):  # type: ignore[misc]
                indices = list(members)
                experiments = [self.trainers[k].experiment for k in indices]
                mine = [twins[k] for k in indices]
                learner = experiments[0].learner
                if place == "update":
                    assert update.lanes is not None
                    block = Block("model", self.parameters["model"], indices[0], experiments, mine, tasks=update.lanes[i])
                else:
                    part = learner.own.owners[i]
                    annealed = {id(o): lr for o, lr in learner.own.annealed}
                    anneal = annealed.get(id(mine[0]))
                    block = Block(part, self.parameters[part], indices[0], experiments, mine, anneal=anneal)
                blocks.append(block)
        return blocks

    def run(self) -> None:
        """Train all to their end. A replica that diverges is in ``failed``; the others go on. Raises ``Interrupted`` after a request to stop."""
        settings = self.first.settings
        started = time.perf_counter() - self.first.seconds * len(self.trainers)
        for trainer in self.trainers:
            trainer.learner.model.train()
        self.first.learner.weighting.eval()  # what it keeps of the losses it is told at the end of an epoch
        saved = self.step
        between = min(SNAPSHOT_STEPS, settings.epochs * self.first.batches.count // SNAPSHOTS) if self.snapshots else 0
        while self.live and self.epoch < settings.epochs:
            table, actives = self._train_epoch()
            self._drop_diverged(table, actives)
            for block in self.blocks:
                block.step_scheduler()
            if self.on_epoch is not None:
                self.on_epoch(self.epoch, table[:, :, 2 * len(self.tasks)].mean().item())
            if settings.evaluates(self.epoch):
                self._record(table, actives, (time.perf_counter() - started) / len(self.trainers))
                last = self.epoch == settings.epochs or self.stop
                if last or self.step - saved >= between:
                    self.save()
                    saved = self.step
                if self.stop and self.live and self.epoch < settings.epochs:
                    raise Interrupted

    def _train_epoch(self) -> tuple[Tensor, list[Active]]:
        """One epoch of steps; returns ``[steps, S, columns]`` of what the steps return, on the host, and who was active."""
        for block in self.blocks:
            block.begin_epoch(self.epoch / self.first.settings.epochs)
        for trainer in self.trainers:
            trainer.learner.weighting.begin_epoch()
        batches, size = self.first.batches, self.first.batches.batch_size
        orders = torch.stack([trainer.batches.order() for trainer in self.trainers]).to(self.train.replicas.device)
        columns = 2 * len(self.tasks) + 1 + sum(self.first.learner.fields.values())
        table = orders.new_zeros((batches.count, len(self.trainers), columns), dtype=torch.get_default_dtype())
        gathered = size * max(1, GATHERED // max(1, self.train.row_bytes * len(self.trainers) * size))
        actives: list[Active] = []
        for at in range(0, self.train.rows, gathered):
            rows = orders[:, at : at + gathered]
            inputs, targets = self.train.gather(rows)
            for start in range(0, rows.shape[1], size):
                part = slice(start, start + size)
                active = batches.active(self.step)
                batch = cut(inputs, part), {name: target[:, part] for name, target in targets.items()}
                self._step(batch, active, table[len(actives)])
                actives.append(active)
                self.step += 1
        self.epoch += 1
        table = table.cpu()
        self._accumulate(table, actives)
        return table, actives

    @torch.no_grad()
    def _step(self, batch: tuple[Any, Any], active: Active, row: Tensor) -> None:
        """One step of all replicas; what it returns goes into the row ``[S, columns]``."""
        inputs, targets = batch
        if active.tasks not in self._functions:
            self._prepare(inputs, targets, active)
        step, again = self._functions[active.tasks]
        values = active.tensor(next(iter(self.parameters["model"].values())))
        returned, losses, gradients = step(self.parameters, self.constants, inputs, targets, values)
        at = 0
        for column in returned:
            width = column.shape[1] if column.dim() > 1 else 1
            row[:, at : at + width] = column.view(-1, width)
            at += width
        for block in self.blocks:
            if block.part == "model":
                lane = set(active.tasks) if block.tasks is None else set(active.tasks) & set(block.tasks)
                if lane:
                    block.step(gradients["model"][block.tasks], self._idle(frozenset(lane)))
        moving = self._moving[active.tasks]
        if self.first.learner.weighting.needs_again:
            found = again(self.parameters, self.constants, inputs, targets, losses)
            names = [name for name in self.parameters["weighting"] if name in moving["weighting"]]
            gradients["weighting"] = dict(zip(names, found.unbind(1), strict=True))
        for block in self.blocks:
            if block.part != "model":
                idle = frozenset(block.views) - moving[block.part]
                if len(idle) < len(block.views):
                    block.step(gradients[block.part], idle)

    def _prepare(self, inputs: Any, targets: Any, active: Active) -> None:
        """At the first step of a set of active tasks: let every weighting look at its losses, and make the functions."""
        learner = self.first.learner
        model, likelihood = pure(learner.model), pure(learner.likelihood)

        def losses_of(parameters: Any, constants: Any, inputs: Any, targets: Any) -> Any:
            outputs = model({**parameters["model"], **constants["model"]}, inputs)
            return likelihood({**parameters["likelihood"], **constants["likelihood"]}, outputs, targets)

        losses = vmap(losses_of)(self.parameters, self.constants, inputs, targets)
        for trainer, values in zip(self.trainers, losses.unbind(), strict=True):
            trainer.learner.weighting.prepare(values, active.subset)
        self._moving[active.tasks] = self._reached(inputs, targets, active)
        step, again = pure_step(learner, active), pure_again(learner, active)
        functions = vmap(step, in_dims=(0, 0, 0, 0, None)), vmap(again)
        self._functions[active.tasks] = (
            (self._compile(functions[0]), self._compile(functions[1])) if self.compiled else functions
        )

    def _set_compiled(self, compiled: bool) -> None:
        self.compiled = compiled
        for trainer in self.trainers:
            trainer.compiled = compiled  # for its checkpoint: a resumed run takes the same path
        if compiled:
            torch.compiler.reset()  # another stack's functions share their code with ours, and only a few versions are kept

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compiled for full batches; the rest of the rows at the end of an epoch is not worth a compilation of its own."""
        cuda = self.train.replicas.device.type == "cuda"  # there a graph of the whole step is replayed
        fast = torch.compile(function, dynamic=False, mode="reduce-overhead" if cuda else None)
        size = self.first.batches.batch_size

        def call(parameters: Any, constants: Any, inputs: Any, targets: Any, last: Any) -> Any:
            rows = next(iter(targets.values())).shape[1] if targets else size
            if self.compiled and rows == size:
                try:
                    return fast(parameters, constants, inputs, targets, last)
                except Exception as error:
                    if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
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
        mine = {key: tensor[0] for key, tensor in inputs.items()} if isinstance(inputs, dict) else inputs[0]
        losses = learner.likelihood.losses(learner.model(mine), {name: target[0] for name, target in targets.items()})
        seen = torch.stack([losses[t].detach() for t in active.tasks]).requires_grad_()
        roots = {"likelihood": sum(losses[t] for t in active.tasks), "weighting": learner.weighting(seen, active.subset)}
        found: dict[str, frozenset[str]] = {}
        for part, root in roots.items():
            names = {name: p for name, p in getattr(learner, part).named_parameters() if p.requires_grad}
            gradients = torch.autograd.grad(root, list(names.values()), allow_unused=True) if names else ()
            found[part] = frozenset(name for name, g in zip(names, gradients, strict=True) if g is not None)
        if learner.weighting.needs_again:
            found["weighting"] = frozenset(name for t, name in enumerate(self.parameters["weighting"]) if t in active.tasks)
        return found

    def _idle(self, tasks: frozenset[int]) -> frozenset[str]:
        """The names of the model's parameters that none of the tasks reaches."""
        if len(tasks) == len(self.tasks):
            return NONE
        idle = set(self.first.experiment.parameters.idle(tasks))
        return frozenset(name for name, p in self.first.learner.model.named_parameters() if p in idle)

    @torch.no_grad()
    def _accumulate(self, table: Tensor, actives: Sequence[Active]) -> None:
        """Tell every weighting the losses of an epoch's steps."""
        at = 0
        for tasks, members in groupby(actives, key=lambda active: active.tasks):
            count = len(list(members))
            for index, trainer in enumerate(self.trainers):
                weighting = trainer.learner.weighting
                losses = table[at : at + count, index][:, list(tasks)]
                weighting.accumulate(losses.to(self.train.replicas.device), None if len(tasks) == len(self.tasks) else tasks)
            at += count

    def _drop_diverged(self, table: Tensor, actives: list[Active]) -> None:
        """A replica whose losses are not finite is out; its numbers are computed on, and ignored."""
        finite = table.isfinite().all(2).all(0)
        for index in sorted(self.live):
            if not finite[index]:
                record = EpochRecord(table[:, index], actives, len(self.tasks), self.first.learner.fields)
                with self._of(index):
                    check_finite(record, self.tasks, self.epoch, self.step - len(table) + 1)

    def _fail(self, index: int, error: Exception) -> None:
        self.failed[index] = error
        self.live.discard(index)

    # What is written down

    def _record(self, table: Tensor, actives: list[Active], seconds: float) -> None:
        """An evaluated epoch of every replica that still runs."""
        evaluations = self._evaluate()
        means = self._means(table, actives)
        for index in sorted(self.live):
            trainer = self.trainers[index]
            trainer.epoch, trainer.step, trainer.seconds = self.epoch, self.step, seconds
            with self._of(index):
                trainer.check("val", evaluations[index])
                trainer.record(means[index], evaluations[index], save=False)
                if trainer.out_of_patience():
                    self._end(index)

    @contextlib.contextmanager
    def _of(self, index: int) -> Iterator[None]:
        """Whatever goes wrong here, a diverged loss or a disk that is full, is this replica's alone."""
        if self.on_replica is not None:
            self.on_replica(index)
        try:
            yield
        except Exception as error:
            self._fail(index, error)

    def _means(self, table: Tensor, actives: list[Active]) -> list[EpochMeans]:
        """Of every replica."""
        width = len(self.tasks)
        active = torch.tensor([a.values for a in actives], dtype=torch.float64).mean(0).tolist()
        found = []
        for row in table.double().mean(0).tolist():
            further, at = {}, 2 * width + 1
            for name, size in self.first.learner.fields.items():
                further[name] = row[at : at + size]
                at += size
            found.append(EpochMeans(row[:width], row[width : 2 * width], active, row[2 * width], further))
        return found

    def save(self) -> None:
        """Write the files of all that still run; a kill in between leaves every run a checkpoint of an epoch that all have."""
        self._settle()
        for index in sorted(self.live):
            with self._of(index):
                self.trainers[index].save(keep_previous=len(self.live) > 1)
        for index in sorted(self.live):
            checkpoint.forget_previous(self.trainers[index].directory)

    def _settle(self, only: int | None = None) -> None:
        """Give the replicas' own optimizers (or those of one) the state that they would have."""
        for block in self.blocks:
            block.to_twins(only)
        for trainer in self.trainers:
            trainer.learner.update.at_step(self.step)

    def _end(self, index: int) -> None:
        """A replica that stopped early keeps everything as it is now."""
        self._settle(index)
        self.trainers[index].save()
        self.live.discard(index)
        for part in self.parts.values():
            part.release(index)

    @torch.no_grad()
    def _evaluate(self) -> list[Evaluation]:
        """The validation split by every replica's model."""
        if not self.together:
            return [trainer.measure("val") for trainer in self.trainers]
        module = self.first.learner.model
        model, likelihood = pure(module), pure(self.first.learner.likelihood, self._measured)

        def measure(parameters: Any, constants: Any, inputs: Any, targets: Any) -> Tensor:
            outputs = model({**parameters["model"], **constants["model"]}, inputs)
            found: Tensor = likelihood({**parameters["likelihood"], **constants["likelihood"]}, outputs, targets)
            return found

        data = None if self.val.shared else 0
        module.eval()
        together = max(1, EVALUATED // max(1, self.val.rows))
        numbers = vmap(measure, in_dims=(0, 0, data, data), chunk_size=together)(
            self.parameters, self.constants, self.val.inputs, self.val.targets
        ).tolist()
        module.train()
        trivial = [trainer.experiment.trivial_losses("val") for trainer in self.trainers]
        return [as_evaluation(self._keys, row, baseline) for row, baseline in zip(numbers, trivial, strict=True)]

    def _measured(self, likelihood: Likelihood, outputs: Any, targets: Any) -> Tensor:
        found = measurements(outputs, targets, self.tasks, likelihood)
        self._keys = list(found)
        return torch.stack([value.double() for value in found.values()])
