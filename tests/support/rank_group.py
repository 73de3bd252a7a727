"""A group of processes that stays for many tests, each of which trains runs on all of them."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from mtl_runner.compat.torch_stores import connect_store, host_store
from mtl_runner.data import Split
from mtl_runner.experiment.build import build
from mtl_runner.gradients.ranks import Ranks, Reports, joined
from mtl_runner.gradients.shards import full_tensor, local_part
from mtl_runner.tasks.task import Task
from mtl_runner.train.trainer import Trainer

SECONDS = 60.0


class Uneven:
    """Three tasks of several kinds, of which most labels of the last two are missing.

    The labels that are there come together, so that one process has many and another none. The
    last batch of a pass has one row, so that most processes have none.

    Args:
        gaps: Whether labels are missing.
        rows: Rows of the training split.
        val: Rows of the other splits.
    """

    def __init__(self, gaps: bool = True, rows: int = 47, val: int = 20) -> None:
        self.tasks = [
            Task("value", "regression", size=2),
            Task("label", "classification", size=3),
            Task("tags", "multilabel", size=2),
        ]
        self.splits = {
            name: self._split(rows if name == "train" else val, seed, gaps)
            for seed, name in enumerate(("train", "val", "test"))
        }
        # For metrics within groups of rows.
        self.row_groups = {
            name: torch.arange(len(split)) % 4 for name, split in self.splits.items()
        }

    def _split(self, rows: int, seed: int, gaps: bool) -> Split:
        random = torch.Generator().manual_seed(seed)
        inputs = torch.randn(rows, 5, generator=random)
        value = inputs[:, :2] * 2 + torch.randn(rows, 2, generator=random)
        label = (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long()
        tags = (inputs[:, 2:4] > 0).float()
        if gaps:
            label[torch.rand(rows, generator=random) < 0.7] = -100
            value[torch.rand(rows, 2, generator=random) < 0.2] = torch.nan
            tags[torch.rand(rows, generator=random) < 0.9] = torch.nan
            label[:2], value[:2], tags[:2] = 1, 1.0, 1.0
        return Split(inputs, {"value": value, "label": label, "tags": tags})


def size_of_values(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    """Return the mean square of the answers, a loss term that is a mean over rows."""
    return outputs["value"].square().mean()


class UnevenItems:
    """The same rows, read item by item, or one after another.

    Args:
        gaps: Whether labels are missing.
        rows: Rows of the training split.
        iterable: Whether the training split can only be read from its beginning.
    """

    def __init__(self, gaps: bool = True, rows: int = 47, iterable: bool = False) -> None:
        in_memory = Uneven(gaps, rows)
        self.tasks = in_memory.tasks
        self.splits: dict[str, Any] = {name: _items(s) for name, s in in_memory.splits.items()}
        if iterable:
            self.splits["train"] = OneByOne(self.splits["train"])


class OneByOne(torch.utils.data.IterableDataset[Any]):
    """Items that can only be read from their beginning.

    Args:
        items: The items.
    """

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


def _items(split: Split) -> list[Any]:
    """Return the rows of a split as items; a label that is missing is None."""
    assert isinstance(split.inputs, Tensor)
    items = []
    for i, inputs in enumerate(split.inputs):
        targets = {name: target[i] for name, target in split.targets.items()}
        known = {
            name: None if bool((t == -100).all() | t.isnan().all()) else t
            for name, t in targets.items()
        }
        items.append((inputs, known))
    return items


class Normalised(nn.Module):
    """A shared layer with batch normalisation, and a head per task.

    Args:
        tasks: The tasks.
        input_shape: The shape of a row.
    """

    def __init__(self, tasks: Sequence[Task], input_shape: Sequence[int]) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(input_shape[0], 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 8)
        )
        self.norm = nn.BatchNorm1d(8, affine=False, momentum=None)
        self.heads = nn.ModuleDict({task.name: nn.Linear(8, task.size) for task in tasks})

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        hidden = self.norm(self.trunk(inputs))
        return {name: head(hidden) for name, head in self.heads.items()}


@dataclass(frozen=True)
class Trained:
    """The result of a run, as a process of a group returns it.

    Attributes:
        parameters: All tensors of model, likelihood and weighting, as one vector.
        means: Losses and weights of the last epoch.
        monitor: The best value of the monitor.
        bits: A checksum of the tensors.
        kept: Bytes of the parameters and the optimizers' states that the process keeps.
    """

    parameters: Tensor
    means: tuple[list[float], list[float]]
    metrics: dict[str, dict[str, float]]
    bits: str
    kept: int = 0


def train(config: dict[str, Any], directory: Path | None = None) -> Trained:
    """Train a run in this process, together with the others of its group if it has one.

    Args:
        config: The composed config.
        directory: The run directory; None: a temporary one.
    """
    with TemporaryDirectory() as folder:
        composed = OmegaConf.create(config)
        assert isinstance(composed, DictConfig)
        trainer = Trainer(build(composed), directory or Path(folder))
        trainer.run()
        final, _ = trainer.finish()
    learner = trainer.learner
    modules = (learner.model, learner.likelihood, learner.weighting)
    tensors = [
        full_tensor(tensor.detach()).double().reshape(-1)
        for module in modules
        for tensor in module.state_dict().values()
        if isinstance(tensor, Tensor)
    ]
    parameters = torch.cat(tensors)
    assert trainer.means is not None
    bits = hashlib.sha256(parameters.numpy().tobytes()).hexdigest()
    means = (trainer.means.loss, trainer.means.weight)
    return Trained(parameters, means, final["val"].values, bits, bytes_kept(trainer))


def bytes_kept(trainer: Trainer) -> int:
    """Return how many bytes of parameters and optimizers' states this process keeps."""
    states = [s for o in trainer.learner.update.optimizers for s in o.state.values()]
    tensors = [tensor for state in states for tensor in state.values() if tensor.dim()]
    parameters = trainer.experiment.parameters.tensors
    return sum(local_part(tensor).nbytes for tensor in (*parameters, *tensors))


def _member(rank: int, size: int, port: int, ends: Sequence[Connection], timeout: float) -> None:
    """Train the runs that come by a pipe, one after another."""
    torch.set_num_threads(1)
    torch.multiprocessing.set_start_method(None, force=True)
    store = connect_store(port)
    ranks = Ranks(rank, size, rank, size, Reports(store), timeout)
    with joined(ranks):
        while (config := ends[rank].recv()) is not None:
            try:
                ends[rank].send(train(config))
            except Exception:
                ends[rank].send(traceback.format_exc())


class Tied(nn.Module):
    """A model whose parts are used in every way that a model may use them.

    The weight of a layer is used by another one, a layer is never called as such, and a trunk is
    called twice.

    Args:
        tasks: The tasks.
        input_shape: The shape of a row.
    """

    def __init__(self, tasks: Sequence[Task], input_shape: Sequence[int]) -> None:
        super().__init__()
        self.enter = nn.Linear(input_shape[0], 7)
        self.trunk = nn.Sequential(nn.Linear(7, 7), nn.Tanh(), nn.Linear(7, 7))
        self.uncalled = nn.ModuleList([nn.Linear(7, 7), nn.Linear(7, 7)])
        self.tied = nn.ModuleList([nn.Linear(7, 7), nn.Linear(7, 7)])
        self.tied[1].weight = self.tied[0].weight
        self.heads = nn.ModuleDict({task.name: nn.Linear(7, task.size) for task in tasks})
        self.frozen_scale = nn.Parameter(torch.ones(7), requires_grad=False)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        hidden = self.trunk(self.trunk(self.enter(inputs)))
        hidden = nn.functional.linear(hidden, self.uncalled[0].weight, self.uncalled[1].bias)
        hidden = hidden + nn.functional.linear(
            hidden, self.uncalled[1].weight, self.uncalled[0].bias
        )
        hidden = self.tied[1](self.tied[0](hidden)) * self.frozen_scale
        return {name: head(hidden) for name, head in self.heads.items()}


class RankGroup:
    """Processes that train runs together.

    Args:
        size: Number of processes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.store = host_store()
        pipes = [torch.multiprocessing.get_context("spawn").Pipe() for _ in range(size)]
        self.ends = [pipe[0] for pipe in pipes]
        self.context = torch.multiprocessing.start_processes(
            _member,
            (size, self.store.port, [pipe[1] for pipe in pipes], SECONDS),
            nprocs=size,
            join=False,
        )

    def train(self, config: DictConfig) -> list[Trained]:
        """Train a run by all processes; return what each has come to.

        Args:
            config: The composed config.
        """
        plain = OmegaConf.to_container(config, resolve=True)
        for end in self.ends:
            end.send(plain)
        results = []
        for end in self.ends:
            assert end.poll(SECONDS), "a process does not answer"
            results.append(end.recv())
        for result in results:
            assert isinstance(result, Trained), result
        return results

    def close(self) -> None:
        """End the processes."""
        for process in self.context.processes:
            process.kill()
            process.join()
