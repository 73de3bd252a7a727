"""DSelect-k: gates that come to choose k of the shared experts."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, positive, whole_number
from mtl_runner.models.gates import selector_rows, selector_width
from mtl_runner.models.mlp import MLPTrunk
from mtl_runner.models.mmoe import GatedExperts
from mtl_runner.models.trunk import TrunkFactory
from mtl_runner.tasks.task import Task

# The range of the first logits of the selectors' weights, as in the authors' code.
FIRST_LOGIT = 0.05


def smooth_step(x: Tensor, gamma: float) -> Tensor:
    r"""Return the smooth-step function: a cubic from 0 to 1 between -gamma/2 and gamma/2.

    .. math:: S(x) = -\tfrac{2}{\gamma^3} x^3 + \tfrac{3}{2\gamma} x + \tfrac12

    It is 0 below and 1 above, exactly, with a slope of 0.

    Args:
        x: Any numbers.
        gamma: Width of the rise.

    Example:
        >>> from mtl_runner.models.dselect_k import smooth_step
        >>> smooth_step(torch.tensor([-0.5, 0.0, 0.25, 0.5]), gamma=1.0)
        tensor([0.0000, 0.5000, 0.8438, 1.0000])
    """
    inside = x.clamp(-gamma / 2, gamma / 2)
    rise = inside * (1.5 / gamma) - inside**3 * (2 / gamma**3) + 0.5
    # The cubic rounds to nearly 0 and 1 at its ends.
    return torch.where(x >= gamma / 2, 1.0, torch.where(x <= -gamma / 2, 0.0, rise))


class DSelectKGate(nn.Module):
    r"""A gate of k selectors, each of which comes to choose one expert.

    .. math:: q = \sum_{i=1}^k \mathrm{softmax}(\alpha)_i\, r(z^{(i)}), \qquad
        r(z)_e = \prod_{j} S(z_j)^{b_j(e)} \bigl(1 - S(z_j)\bigr)^{1 - b_j(e)}

    where :math:`b_j(e)` is bit j of the number of expert e, the highest first, and :math:`S` the
    :func:`smooth_step`.

    Args:
        selector_width: Numbers per row of the inputs; None: the gate is the same for all rows.
        experts: Number of experts, a power of two.
        k: Number of selectors.
        gamma: Width of the rise of the smooth-step function.

    Shape:
        Inputs ``[N, ...]``, weights ``[N, experts]`` that sum to 1.

    Example:
        >>> from mtl_runner.models.dselect_k import DSelectKGate
        >>> gate = DSelectKGate(None, experts=4, k=1)
        >>> _ = gate.z.data.copy_(torch.tensor([[9.0, -9.0]]))  # the bits of expert 2
        >>> gate(torch.zeros(1, 3)).detach()
        tensor([[0., 0., 1., 0.]])
    """

    codes: Tensor

    def __init__(
        self, selector_width: int | None, experts: int, k: int, gamma: float = 1.0
    ) -> None:
        super().__init__()
        self.k, self.gamma = k, gamma
        self.bits = int(math.log2(experts))
        highest_first = range(self.bits - 1, -1, -1)
        codes = [[bool(expert >> bit & 1) for bit in highest_first] for expert in range(experts)]
        self.register_buffer("codes", torch.tensor(codes), persistent=False)
        self.by_row = selector_width is not None
        if selector_width is None:
            self.z = nn.Parameter(torch.empty(k, self.bits))
            self.alpha = nn.Parameter(torch.empty(k))
            nn.init.uniform_(self.z, -gamma / 100, gamma / 100)
            nn.init.uniform_(self.alpha, -FIRST_LOGIT, FIRST_LOGIT)
        else:
            self.z_layer = nn.Linear(selector_width, k * self.bits)
            self.alpha_layer = nn.Linear(selector_width, k)
            for parameter in self.z_layer.parameters():
                nn.init.uniform_(parameter, -gamma / 100, gamma / 100)
            for parameter in self.alpha_layer.parameters():
                nn.init.uniform_(parameter, -FIRST_LOGIT, FIRST_LOGIT)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the weight of each expert, ``[N, experts]``."""
        if self.by_row:
            rows = selector_rows(inputs)
            z = self.z_layer(rows).unflatten(1, (self.k, self.bits))
            alpha = self.alpha_layer(rows)
        else:
            z, alpha = self.z, self.alpha
        weights: Tensor = (torch.softmax(alpha, -1).unsqueeze(-1) * self.selections(z)).sum(-2)
        return weights if self.by_row else weights.expand(len(inputs), -1)

    def selections(self, z: Tensor) -> Tensor:
        """Return how much of each expert each selector takes.

        Args:
            z: The selectors' logits, ``[..., k, bits]``.

        Returns:
            Weights ``[..., k, experts]``.
        """
        steps = smooth_step(z, self.gamma).unsqueeze(-2)
        factors = torch.where(self.codes, steps, 1 - steps)
        return functools.reduce(operator.mul, factors.unbind(-1))


class DSelectK(GatedExperts):
    r"""Shared experts of which the gate of every task comes to choose k, by a differentiable gate.

    **Source:** Hazimeh, Zhao, Chowdhery, Sathiamoorthy, Chen, Mazumder, Hong & Chi, *DSelect-k:
    Differentiable Selection in the Mixture of Experts with Applications to Multi-Task Learning*,
    NeurIPS 2021, eq. 3 to 5, `arXiv:2106.03760 <https://arxiv.org/abs/2106.03760>`__.

    The model is that of :class:`MMoE` with other gates:

    .. math:: q = \sum_{i=1}^k \mathrm{softmax}(\alpha)_i\, r(z^{(i)}), \qquad
        r(z)_e = \prod_{j} S(z_j)^{b_j(e)} \bigl(1 - S(z_j)\bigr)^{1 - b_j(e)}

    where

    - :math:`r(z^{(i)})` is selector i, whose weights over the experts sum to 1,
    - :math:`b_j(e)` is bit j of the number of expert e,
    - :math:`S` is the smooth-step function, a cubic that is exactly 0 below :math:`-\gamma/2` and
      exactly 1 above :math:`\gamma/2`; once all of its :math:`z_j` lie outside, a selector takes a
      single expert, so a gate takes at most k,
    - :math:`\alpha` are the logits of the selectors. Both are linear in the inputs
      (``gates: inputs``) or the same for all rows (``gates: constant``).

    **Departs from the paper:** no entropy penalty (the authors' code has none by default), which
    would make the gates choose sooner; and the number of experts must be a power of two, for which
    the paper needs no other penalty.

    **When it helps:** where a sparse choice of experts is wanted, e.g. to read off which tasks use
    which, or tasks that share only some of them.

    Args:
        tasks: The tasks.
        input_shape: Shape of one input.
        trunk: Makes an expert from the shape of one input; each has first weights of its own.
        experts: Number of experts, a power of two.
        k: How many of them a gate may choose.
        gates: ``"inputs"``: every row chooses; ``"constant"``: every task chooses once.
        gamma: Width of the rise of the smooth-step function.
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
        >>> from mtl_runner.models import DSelectK
        >>> model = DSelectK([Task("a", size=1), Task("b", size=3)], (6,), experts=4, k=2)
        >>> {name: tuple(output.shape) for name, output in model(torch.zeros(5, 6)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        trunk: TrunkFactory = MLPTrunk,
        experts: int = 4,
        k: int = 2,
        gates: str = "inputs",
        gamma: float = 1.0,
        tower: Sequence[int] = (),
    ) -> None:
        whole_number(experts, "model.experts", 2)
        if experts & (experts - 1):
            raise ConfigError(
                f"model.experts must be a power of two for model=dselect_k, whose gates number the experts in bits; found {experts}."
            )
        whole_number(k, "model.k", 1)
        if k > experts:
            raise ConfigError(f"model.k={k} is more than model.experts={experts}; lower it.")
        choice(gates, "model.gates", ("inputs", "constant"))
        positive(gamma, "model.gamma")

        def make_gate() -> DSelectKGate:
            width = selector_width(input_shape) if gates == "inputs" else None
            return DSelectKGate(width, experts, k, gamma)

        super().__init__(tasks, input_shape, trunk, experts, tower, make_gate)
