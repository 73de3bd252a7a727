"""Regressions that differ in nothing but their scale: the toy problem of GradNorm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import is_number, whole_number
from mtl_runner.tasks.task import Task

SHARED_VARIANCE = 10.0  # of the entries of B
TASK_VARIANCE = 3.5  # of the entries of each epsilon_t


class GradNormToy:
    r"""Regressions that share most of one random linear map (Chen et al., ICML 2018, section 4).

    .. math:: f_t(x) = \sigma_t \tanh((B + \epsilon_t)\,x), \qquad
        B_{ij} \sim N(0, 10), \quad \epsilon_{t,ij} \sim N(0, 3.5)

    where

    - :math:`x` is an input, of length 1 (the paper does not say) and uniform in direction,
    - :math:`B` is the map that all tasks share, :math:`\epsilon_t` the part of task t, with
      variances as the second argument of :math:`N`,
    - :math:`\sigma_t` is the scale of task t, which is called ``y<t>``, from ``y1`` on.

    All tasks are equally hard, but the squared errors of two of them differ by the square of their
    scales' ratio. The paper judges by the sum over tasks of test loss after training over that
    before; at the start the outputs are all but 0 and the targets' mean is 0, so that
    ``relative_loss`` is that ratio within a hundredth.

    Args:
        sigmas: The scale of each task.
        dim: Dimension of the inputs.
        outputs: Number of outputs of every task.
        n: Number of training points.
        n_val: Number of validation points.
        n_test: Number of test points.
        seed: Seed of the generator; the run's own ``seed`` does not change the data.

    Shape:
        Inputs ``[N, dim]``, targets ``[N, outputs]``.

    Raises:
        ConfigError: If a scale is not positive, or a size is below 1.

    Example:
        >>> from mtl_runner.data import GradNormToy
        >>> targets = GradNormToy([1, 100], n=20).splits["train"].targets
        >>> tuple(targets["y1"].shape), bool(targets["y2"].std() > 50 * targets["y1"].std())
        ((20, 100), True)
    """

    def __init__(
        self,
        sigmas: Sequence[float] = (1.0, 100.0),
        dim: int = 250,
        outputs: int = 100,
        n: int = 10_000,
        n_val: int = 1000,
        n_test: int = 2000,
        seed: int = 0,
    ) -> None:
        if (
            not isinstance(sigmas, Sequence)
            or not sigmas
            or not all(is_number(sigma) and sigma > 0 for sigma in sigmas)
        ):
            raise ConfigError(
                f"data.sigmas must be a list of positive numbers, one per task, e.g. [1, 100]; found {sigmas!r}."
            )
        # Train stands last: its size changes nothing in the others.
        rows_of = {"test": n_test, "val": n_val, "train": n}
        sizes = {"dim": dim, "outputs": outputs, "n": n, "n_val": n_val, "n_test": n_test}
        for name, size in sizes.items():
            whole_number(size, f"data.{name}", 1)
        generator = torch.Generator().manual_seed(seed)

        def normal(rows: int, columns: int) -> torch.Tensor:
            return torch.randn(rows, columns, generator=generator, dtype=torch.float64)

        shared_map = math.sqrt(SHARED_VARIANCE) * normal(outputs, dim)
        maps = [shared_map + math.sqrt(TASK_VARIANCE) * normal(outputs, dim) for _ in sigmas]
        names = [f"y{index}" for index in range(1, len(sigmas) + 1)]
        self.tasks = [Task(name, "regression", size=outputs) for name in names]
        dtype = torch.get_default_dtype()
        self.splits = {}
        for split, rows in rows_of.items():
            x = torch.nn.functional.normalize(normal(rows, dim), dim=1)
            targets = {
                name: float(sigma) * torch.tanh(x @ task_map.T).to(dtype)
                for name, sigma, task_map in zip(names, sigmas, maps, strict=True)
            }
            self.splits[split] = Split(x.to(dtype), targets)
