"""Regressions that are as related as one asks: a dial from conflicting over unrelated to equal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, is_number, not_negative, whole_number
from mtl_runner.tasks.task import Task


class Related:
    r"""Regressions on directions of a given pairwise cosine (Ma et al., KDD 2018, section 3.2).

    .. math:: y_t = s_t \Big(z_t + \sum_{i=1}^m \sin(\alpha_i z_t + \beta_i)
        + \sigma \varepsilon_t\Big), \qquad z_t = w_t^\top x, \quad
        w_t^\top w_u = p \;\; (t \ne u), \quad \|w_t\| = 1

    where

    - :math:`x \sim N(0, I_d)` is an input, :math:`w_t` the direction of task t, drawn once,
    - :math:`p` is the cosine of the directions of any two tasks: 1 means the same task twice, 0
      unrelated tasks, and below 0 tasks in conflict,
    - :math:`\alpha_i, \beta_i \sim N(0, 1)` are the frequencies and phases of m sines, the same for
      all tasks; the paper leaves their values open,
    - :math:`s_t` is the scale of task t, which is called ``y<t>``, from ``y1`` on,
    - :math:`\varepsilon_t \sim N(0, 1)` is its noise.

    With two tasks these are the paper's, :math:`w_1 = u_1`, :math:`w_2 = p u_1 + \sqrt{1 - p^2} u_2`
    for orthogonal unit vectors u; with more, every pair of them has the cosine p. All tasks are
    equally hard: they differ in nothing but direction, noise and scale. Without sines the
    correlation of two labels is :math:`p / (1 + \sigma^2)`; with them it grows with p. Neither
    inputs, noise nor the vectors u depend on p or on the scales, so that runs along the dial differ
    in nothing else.

    Attributes:
        directions: The vectors w, ``[tasks, dim]``, in double precision.

    Args:
        cosine: The cosine p, from -1 / (tasks - 1) to 1: more than two vectors cannot all be
            opposite.
        scales: The scale of each task; so many tasks there are.
        sines: The number m of sines; 0 makes the tasks linear.
        noise: Standard deviation of the noise, before the scale.
        labels: ``"all"``: every training row has the labels of all tasks; ``"one"``: of one task,
            in turn, so that a task can learn from the others' rows only by sharing.
        dim: Dimension d of the inputs, at least the number of tasks.
        n: Number of training points.
        n_val: Number of validation points.
        n_test: Number of test points.
        seed: Seed of the generator; the run's own ``seed`` does not change the data.

    Shape:
        Inputs ``[N, dim]``, targets ``[N]``.

    Raises:
        ConfigError: If no such vectors exist, a scale is not positive, or a size is impossible.

    Example:
        >>> from mtl_runner.data import Related
        >>> data = Related(cosine=0.5, scales=[1, 1, 10])
        >>> [(task.name, task.true_sigma) for task in data.tasks]
        [('y1', 0.1), ('y2', 0.1), ('y3', 1.0)]
        >>> (data.directions @ data.directions.T).round(decimals=6)
        tensor([[1.0000, 0.5000, 0.5000],
                [0.5000, 1.0000, 0.5000],
                [0.5000, 0.5000, 1.0000]], dtype=torch.float64)
    """

    def __init__(
        self,
        cosine: float = 0.5,
        scales: Sequence[float] = (1.0, 1.0),
        sines: int = 5,
        noise: float = 0.1,
        labels: str = "all",
        dim: int = 100,
        n: int = 1000,
        n_val: int = 1000,
        n_test: int = 2000,
        seed: int = 0,
    ) -> None:
        if (
            not isinstance(scales, Sequence)
            or not scales
            or not all(is_number(scale) and scale > 0 for scale in scales)
        ):
            raise ConfigError(
                f"data.scales must be a list of positive numbers, one per task, e.g. [1, 10]; found {scales!r}."
            )
        _check_cosine(cosine, len(scales))
        not_negative(noise, "data.noise")
        choice(labels, "data.labels", ("all", "one"))
        whole_number(sines, "data.sines", 0)
        whole_number(dim, "data.dim", 1)
        if dim < len(scales):
            raise ConfigError(
                f"data.dim must be at least the number of tasks, {len(scales)}; found {dim}."
            )
        for name, size in {"n": n, "n_val": n_val, "n_test": n_test}.items():
            whole_number(size, f"data.{name}", 1)
        whole_number(seed, "data.seed", 0)
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        frequencies, phases = normal(2, sines)
        # The phases of the sines and the inputs stay as they are when a task is added.
        splits = {"test": n_test, "val": n_val, "train": n}
        inputs = {split: normal(rows, dim) for split, rows in splits.items()}
        columns = [(normal(dim), {s: normal(rows) for s, rows in splits.items()}) for _ in scales]
        orthonormal = _orthonormal_rows(torch.stack([vector for vector, _ in columns]))
        self.directions = root_of_equal_cosines(len(scales), cosine) @ orthonormal
        names = [f"y{index}" for index in range(1, len(scales) + 1)]
        self.tasks = [
            Task(name, "regression", size=1, true_sigma=scale * noise or None)
            for name, scale in zip(names, scales, strict=True)
        ]
        dtype = torch.get_default_dtype()
        self.splits = {}
        for split, x in inputs.items():
            targets = {}
            for index, name in enumerate(names):
                scale, direction, errors = scales[index], self.directions[index], columns[index][1]
                z = x @ direction
                waves = (z.unsqueeze(1) * frequencies + phases).sin().sum(1)
                target = scale * (z + waves + noise * errors[split])
                if labels == "one" and split == "train":
                    target[torch.arange(len(x)) % len(names) != index] = torch.nan
                targets[name] = target.to(dtype)
            self.splits[split] = Split(x.to(dtype), targets)


def root_of_equal_cosines(count: int, cosine: float) -> Tensor:
    r"""Return the Cholesky factor L of the matrix of equal cosines, ``[count, count]``.

    :math:`L L^\top` is 1 on the diagonal and ``cosine`` elsewhere. Both ends of the range of the
    cosine are allowed, at which the matrix is singular and the usual routine fails.

    Args:
        count: Number of vectors.
        cosine: The cosine of any two of them, from -1 / (count - 1) to 1.

    Example:
        >>> root_of_equal_cosines(2, 0.6)
        tensor([[1.0000, 0.0000],
                [0.6000, 0.8000]], dtype=torch.float64)
    """
    root = torch.zeros(count, count, dtype=torch.float64)
    covered = 0.0  # the sum of squares, and of products of two rows, of the columns so far
    for column in range(count):
        diagonal = math.sqrt(max(1 - covered, 0.0))
        below = (cosine - covered) / diagonal if diagonal > 1e-7 else 0.0
        root[column, column] = diagonal
        root[column + 1 :, column] = below
        covered += below**2
    return root


def _orthonormal_rows(vectors: Tensor) -> Tensor:
    """Return orthonormal rows, the first k of which depend on the first k vectors alone."""
    q, r = torch.linalg.qr(vectors.T)
    # Householder's routine may turn a column around.
    turned: Tensor = (q * r.diagonal().sign()).T
    return turned


def _check_cosine(cosine: float, count: int) -> None:
    lowest = -1 / (count - 1) if count > 1 else -1.0
    # The lower end may be a rounded decimal, e.g. -0.333 is above, -0.3333334 is that end.
    if not is_number(cosine) or not lowest - 1e-6 <= cosine <= 1:
        raise ConfigError(
            f"data.cosine must lie between {lowest:.4g} and 1 for {count} tasks; found {cosine!r}."
        )
