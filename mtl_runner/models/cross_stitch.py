"""A network per task, with learned exchanges of features between them: cross-stitch networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors.checks import flag, fraction
from mtl_runner.models.heads import Towers
from mtl_runner.models.mlp import MLPTrunk
from mtl_runner.models.trunk import TrunkFactory, make_trunks, shape_after, stages_of
from mtl_runner.tasks.task import Task


class CrossStitchUnit(nn.Module):
    r"""Linear combinations of the features of all tasks, one per task.

    .. math:: \tilde x_t = \sum_u \alpha_{t,u}\, x_u

    Each row of :math:`\alpha` is a parameter of its own, so that the graph tells which tasks it
    serves: behind the last stage, only one.

    Args:
        tasks: Number of tasks.
        same: First :math:`\alpha_{t,t}`; the others share the rest of 1.
        channels: Number of channels, each with an :math:`\alpha` of its own; None: one for all.

    Example:
        >>> from mtl_runner.models.cross_stitch import CrossStitchUnit
        >>> mixed = CrossStitchUnit(2, same=0.75)([torch.ones(1, 1), torch.zeros(1, 1)])
        >>> [features.item() for features in mixed]
        [0.75, 0.25]
    """

    def __init__(self, tasks: int, same: float, channels: int | None = None) -> None:
        super().__init__()
        between = (1 - same) / max(tasks - 1, 1)
        alpha = torch.full((tasks, tasks), between).fill_diagonal_(same if tasks > 1 else 1.0)
        rows = alpha if channels is None else alpha.unsqueeze(2).repeat(1, 1, channels)
        self.rows = nn.ParameterList(nn.Parameter(row.clone()) for row in rows)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the combined features of each task, of the shape of the given ones."""
        stacked = torch.stack(list(features), 1)  # [N, T, channels, ...]
        mixed = []
        for row in self.rows:
            weights = row.reshape(*row.shape, *(1,) * (stacked.dim() - 1 - row.dim()))
            mixed.append((weights * stacked).sum(1))
        return mixed


class CrossStitch(nn.Module):
    r"""A network per task; behind every stage, cross-stitch units mix the features of all tasks.

    **Source:** Misra, Shrivastava, Gupta & Hebert, *Cross-stitch Networks for Multi-task Learning*,
    CVPR 2016, eq. 1 and 2, `arXiv:1604.03539 <https://arxiv.org/abs/1604.03539>`__.

    .. math:: \tilde x_{t} = \sum_u \alpha_{t,u}\, x_{u}

    where

    - :math:`x_u` are the features of task u's network behind a stage,
    - :math:`\tilde x_t` is what the next stage of task t's network sees,
    - :math:`\alpha` is a matrix per stage; :math:`\alpha_{t,t}` starts at ``same``, the others
      share the rest of 1.

    **Departs from the paper:** its networks start from networks that were trained for each task,
    here from first weights of their own; its units have a learning rate 100 to 1000 times as large,
    here the optimizer's: with Adam a step does not depend on the size of the gradient.

    **When it helps:** nobody knows at which layer tasks should part. It costs as many networks as
    there are tasks.

    Args:
        tasks: The tasks.
        input_shape: Shape of one input.
        trunk: Makes a task's network, which must consist of stages; each has first weights of its
            own.
        same: First weight of a task's own features, from 0 to 1.
        per_channel: Whether each channel has a matrix of its own.
        tower: Widths of the layers in each task's tower before its output.

    Shape:
        Inputs ``[N, *input_shape]``, outputs ``{task: [N, size]}``.

    Raises:
        ConfigError: If an option is impossible, the inputs are a dict, or the trunk has no stages.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import CrossStitch
        >>> model = CrossStitch([Task("a", size=1), Task("b", size=3)], (6,))
        >>> len(model.networks), len(model.units)
        (2, 2)
        >>> {name: tuple(output.shape) for name, output in model(torch.zeros(5, 6)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        trunk: TrunkFactory = MLPTrunk,
        same: float = 0.9,
        per_channel: bool = False,
        tower: Sequence[int] = (),
    ) -> None:
        super().__init__()
        fraction(same, "model.same", one_allowed=True)
        flag(per_channel, "model.per_channel")
        task_count = sum(task.has_target for task in tasks)
        trunks = make_trunks(trunk, input_shape, task_count)
        self.networks = nn.ModuleList(nn.ModuleList(stages_of(t, "cross_stitch")) for t in trunks)
        self.units = nn.ModuleList()
        shape = tuple(input_shape)
        for stages in zip(*self.networks, strict=True):
            shape = shape_after(stages[0], shape)
            channels = shape[0] if per_channel else None
            self.units.append(CrossStitchUnit(task_count, same, channels))
        self.towers = Towers(tasks, shape, tower)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, size]``."""
        features = [inputs] * len(self.networks)
        for stages, unit in zip(zip(*self.networks, strict=True), self.units, strict=True):
            features = unit([stage(before) for stage, before in zip(stages, features, strict=True)])
        outputs: dict[str, Tensor] = self.towers(features)
        return outputs
