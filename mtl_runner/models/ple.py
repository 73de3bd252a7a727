"""Experts of each task beside shared ones: CGC, and PLE, which stacks several levels of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import whole_number
from mtl_runner.models.gates import Gate, mixture
from mtl_runner.models.heads import Towers
from mtl_runner.models.mlp import MLPTrunk
from mtl_runner.models.trunk import TrunkFactory, make_trunks, shape_after, stages_of
from mtl_runner.tasks.task import Task


class ExtractionLevel(nn.Module):
    """One level of experts: each task's, and shared ones, with the gates that mix them.

    The gate of a task mixes the task's experts and the shared ones; the shared gate, which the last
    level does not need, mixes all experts.

    Args:
        task_experts: The experts of each task.
        shared_experts: The experts that all tasks share.
        selector_shape: Shape of one row of what enters the level.
        is_first: Whether the inputs of the model enter it.
        is_last: Whether no level follows.
    """

    def __init__(
        self,
        task_experts: Sequence[Sequence[nn.Module]],
        shared_experts: Sequence[nn.Module],
        selector_shape: Sequence[int],
        *,
        is_first: bool,
        is_last: bool,
    ) -> None:
        super().__init__()
        self.task_experts = nn.ModuleList(nn.ModuleList(experts) for experts in task_experts)
        self.shared_experts = nn.ModuleList(shared_experts)
        shared_count = len(shared_experts)
        self.gates = nn.ModuleList(
            Gate(selector_shape, len(experts) + shared_count, is_first) for experts in task_experts
        )
        all_count = sum(map(len, task_experts)) + shared_count
        self.shared_gate = None if is_last else Gate(selector_shape, all_count, is_first)

    def forward(
        self, task_features: Sequence[Tensor], shared_features: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Return the features of each task, and those that are shared; no matter in the last level.

        Args:
            task_features: What the level before made for each task, ``[N, ...]``.
            shared_features: What it made for all.
        """
        of_tasks = [
            [expert(features) for expert in experts.children()]
            for experts, features in zip(self.task_experts, task_features, strict=True)
        ]
        of_all = [expert(shared_features) for expert in self.shared_experts]
        mixed = [
            mixture(gate(features), torch.stack([*experts, *of_all], 1))
            for gate, features, experts in zip(self.gates, task_features, of_tasks, strict=True)
        ]
        if self.shared_gate is None:
            return mixed, shared_features
        everything = [features for experts in of_tasks for features in experts] + of_all
        return mixed, mixture(self.shared_gate(shared_features), torch.stack(everything, 1))


class PLE(nn.Module):
    r"""Progressive layered extraction: levels of task experts and shared experts, one on another.

    **Source:** Tang, Liu, Zhao & Gong, *Progressive Layered Extraction (PLE): A Novel Multi-Task
    Learning (MTL) Model for Personalized Recommendations*, RecSys 2020, eq. 4 to 7,
    `doi:10.1145/3383313.3412236 <https://doi.org/10.1145/3383313.3412236>`__.

    .. math:: g_{k,j}(x) = \mathrm{softmax}\bigl(W_{k,j}\, g_{k,j-1}(x)\bigr)\, S_{k,j}(x), \qquad
        y_k = t_k\bigl(g_{k,N}(x)\bigr)

    where

    - :math:`S_{k,j}` are the outputs of the experts of task k and of the shared experts in level j;
      the experts of a task see what the gate of the task made of the level before, the shared ones
      see what the shared gate made,
    - the shared gate mixes all experts of its level; the last level has none,
    - :math:`t_k` is the tower of task k.

    The trunk's stages are dealt out to the levels: with two levels, an expert of a ``mlp`` with
    ``hidden: [128, 128]`` is one layer in each of them. Below the last level every task reaches
    every expert, so their parameters are shared; in the last level, a task's experts are its own.

    **Departs from the paper:** gates have a bias; a gate on a feature map sees the mean of each
    channel; a tower is linear by default, as in the other models (``tower=[64]`` adds a layer).

    **When it helps:** tasks of which one gains and the other loses in a shared trunk, or in
    :class:`MMoE` (the paper's seesaw).

    Args:
        tasks: The tasks.
        input_shape: Shape of one input.
        trunk: Makes an expert of all levels from the shape of one input.
        levels: Number of levels; the trunk needs as many stages.
        task_experts: Experts of each task, in each level.
        shared_experts: Shared experts in each level.
        tower: Widths of the layers in each task's tower before its output.

    Shape:
        Inputs ``[N, *input_shape]``, outputs ``{task: [N, size]}``.

    Raises:
        ConfigError: If an option is impossible, the inputs are a dict, or a trunk does not fit.
        ModelError: In the forward pass, if the inputs are not floating-point numbers.

    Example:
        >>> import torch
        >>> from functools import partial
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import MLPTrunk, PLE
        >>> tasks = [Task("a", size=1), Task("b", size=3)]
        >>> model = PLE(tasks, (6,), trunk=partial(MLPTrunk, hidden=[16, 8]), levels=2)
        >>> {name: tuple(output.shape) for name, output in model(torch.zeros(5, 6)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        trunk: TrunkFactory = MLPTrunk,
        levels: int = 2,
        task_experts: int = 2,
        shared_experts: int = 2,
        tower: Sequence[int] = (),
    ) -> None:
        super().__init__()
        for key, value in (
            ("levels", levels),
            ("task_experts", task_experts),
            ("shared_experts", shared_experts),
        ):
            whole_number(value, f"model.{key}", 1)
        task_count = sum(task.has_target for task in tasks)
        count = task_count * task_experts + shared_experts
        # One list of parts per expert, a part per level.
        experts = [_parts(t, levels) for t in make_trunks(trunk, input_shape, count)]
        starts = range(0, task_count * task_experts, task_experts)
        self.levels = nn.ModuleList()
        shape = tuple(input_shape)
        for level in range(levels):
            parts = [parts_of_expert[level] for parts_of_expert in experts]
            self.levels.append(
                ExtractionLevel(
                    [parts[start : start + task_experts] for start in starts],
                    parts[len(starts) * task_experts :],
                    shape,
                    is_first=level == 0,
                    is_last=level == levels - 1,
                )
            )
            shape = shape_after(parts[0], shape)
        self.towers = Towers(tasks, shape, tower)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, size]``."""
        task_features, shared_features = [inputs] * len(self.towers), inputs
        for level in self.levels:
            task_features, shared_features = level(task_features, shared_features)
        outputs: dict[str, Tensor] = self.towers(task_features)
        return outputs


class CGC(PLE):
    r"""Customized gate control: experts of each task beside shared ones, mixed by a gate per task.

    **Source:** Tang, Liu, Zhao & Gong, *Progressive Layered Extraction (PLE): A Novel Multi-Task
    Learning (MTL) Model for Personalized Recommendations*, RecSys 2020, eq. 1 to 3,
    `doi:10.1145/3383313.3412236 <https://doi.org/10.1145/3383313.3412236>`__.

    .. math:: y_k = t_k\bigl(\mathrm{softmax}(W_k x)\, S_k(x)\bigr)

    where :math:`S_k` are the outputs of the experts of task k and of the shared experts, and
    :math:`t_k` is the tower of task k. It is :class:`PLE` with one level: an expert is a whole
    trunk, and a task's experts are its own.

    **Departs from the paper:** gates have a bias; a tower is linear by default, as in the other
    models (``tower=[64]`` adds a layer). A feature map is weighed like a vector.

    **When it helps:** tasks that need features of their own beside those that they share.

    Args:
        tasks: The tasks.
        input_shape: Shape of one input.
        trunk: Makes an expert from the shape of one input; each has first weights of its own.
        task_experts: Experts of each task.
        shared_experts: Experts that all tasks share.
        tower: Widths of the layers in each task's tower before its output.

    Shape:
        Inputs ``[N, *input_shape]``, outputs ``{task: [N, size]}``, and ``[N, size, H, W]`` for
        tasks with an answer per pixel, which need a trunk that gives a map, such as a U-Net.

    Raises:
        ConfigError: If an option is impossible, the inputs are a dict, or a trunk does not fit.
        ModelError: In the forward pass, if the inputs are not floating-point numbers.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import CGC
        >>> model = CGC([Task("a", size=1), Task("b", size=3)], (6,))
        >>> {name: tuple(output.shape) for name, output in model(torch.zeros(5, 6)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        trunk: TrunkFactory = MLPTrunk,
        task_experts: int = 2,
        shared_experts: int = 2,
        tower: Sequence[int] = (),
    ) -> None:
        super().__init__(tasks, input_shape, trunk, 1, task_experts, shared_experts, tower)


def _parts(trunk: nn.Module, levels: int) -> list[nn.Module]:
    """Return a trunk in one part per level; the first ones have a stage more if need be."""
    if levels == 1:
        return [trunk]
    stages = stages_of(trunk, "ple")
    if len(stages) < levels:
        raise ConfigError(
            f"model.levels={levels} needs a trunk of {levels} stages or more, one per level at least, but this one has {len(stages)}; lower it, or give the trunk more layers."
        )
    size, longer = divmod(len(stages), levels)
    ends = [0]
    for level in range(levels):
        ends.append(ends[-1] + size + (level < longer))
    return [
        nn.Sequential(*(layer for stage in stages[start:end] for layer in stage))
        for start, end in itertools.pairwise(ends)
    ]
