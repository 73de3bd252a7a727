"""Mixtures of experts that all tasks share, with a gate per task: MMoE."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors.checks import whole_number
from mtl_runner.models.gates import Gate, mixture
from mtl_runner.models.heads import Towers
from mtl_runner.models.mlp import MLPTrunk
from mtl_runner.models.trunk import TrunkFactory, make_trunks, shape_after
from mtl_runner.tasks.task import Task


class GatedExperts(nn.Module):
    """Experts that all tasks share; each task has a gate that weighs them, and a tower.

    Args:
        tasks: The tasks.
        input_shape: Shape of one input.
        trunk: Makes an expert.
        experts: Number of experts.
        tower: Widths of the layers in each task's tower before its output.
        make_gate: Makes a gate from inputs to weights ``[N, experts]``.

    Shape:
        Inputs ``[N, *input_shape]``, outputs ``{task: [N, size, ...]}``.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        trunk: TrunkFactory,
        experts: int,
        tower: Sequence[int],
        make_gate: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(make_trunks(trunk, input_shape, experts))
        feature_shape = shape_after(self.experts[0], input_shape)
        self.gates = nn.ModuleList(make_gate() for task in tasks if task.has_target)
        self.towers = Towers(tasks, feature_shape, tower)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, size]``, or ``[N, size, H, W]`` per pixel."""
        weights = [gate(inputs) for gate in self.gates]
        features = torch.stack([expert(inputs) for expert in self.experts], 1)
        outputs: dict[str, Tensor] = self.towers([mixture(w, features) for w in weights])
        return outputs


class MMoE(GatedExperts):
    r"""Multi-gate mixture of experts: every task weighs the shared experts by a gate of its own.

    **Source:** Ma, Zhao, Yi, Chen, Hong & Chi, *Modeling Task Relationships in Multi-task Learning
    with Multi-gate Mixture-of-Experts*, KDD 2018, eq. 6 and 7,
    `doi:10.1145/3219819.3220007 <https://doi.org/10.1145/3219819.3220007>`__.

    .. math:: y_k = h_k\Bigl(\sum_{i=1}^n g_{k,i}(x)\, f_i(x)\Bigr), \qquad
        g_k(x) = \mathrm{softmax}(W_k x)

    where

    - :math:`f_i` is expert i, a trunk of its own that all tasks share,
    - :math:`g_k` is the gate of task k,
    - :math:`h_k` is its tower.

    **Departs from the paper:** gates have a bias; a tower is linear by default, as in the other
    models, where the paper's has a hidden layer (``tower=[8]``). A feature map is weighed like a
    vector; images enter the gates flattened.

    **When it helps:** tasks that are only loosely related disturb each other in one shared trunk.

    Args:
        tasks: The tasks.
        input_shape: Shape of one input.
        trunk: Makes an expert from the shape of one input; each has first weights of its own.
        experts: Number of experts.
        tower: Widths of the layers in each task's tower before its output.

    Shape:
        Inputs ``[N, *input_shape]``, outputs ``{task: [N, size]}``, and ``[N, size, H, W]`` for
        tasks with an answer per pixel, which need a trunk that gives a map, such as a U-Net.

    Raises:
        ConfigError: If an option is impossible, the inputs are a dict, or a trunk does not fit.
        ModelError: In the forward pass, if the inputs are not floating-point numbers.

    Example:
        >>> import torch
        >>> from functools import partial
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import MLPTrunk, MMoE
        >>> tasks = [Task("price", size=1), Task("sold", "classification", size=2)]
        >>> model = MMoE(tasks, (6,), trunk=partial(MLPTrunk, hidden=[16]), experts=3)
        >>> {name: tuple(output.shape) for name, output in model(torch.zeros(5, 6)).items()}
        {'price': (5, 1), 'sold': (5, 2)}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        trunk: TrunkFactory = MLPTrunk,
        experts: int = 4,
        tower: Sequence[int] = (),
    ) -> None:
        whole_number(experts, "model.experts", 1)
        super().__init__(
            tasks, input_shape, trunk, experts, tower, lambda: Gate(input_shape, experts)
        )
