"""Partial derivatives of a model's outputs with respect to its inputs, for residuals."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vjp

from mtl_runner.errors import ConfigError, suggest

#: A model as a function of points [N, d], or its outputs by name.
Field = Callable[[Tensor], dict[str, Tensor]]


def derivatives(function: Field, points: Tensor, *wanted: str, coordinates: str) -> list[Tensor]:
    r"""Return outputs of a model, and their partial derivatives, at some points.

    They are taken by ``torch.func``, in reverse mode, so that parameters can be trained through
    them, alone and in a stack of runs. Each point's output must depend on that point alone.

    Args:
        function: The model: from points ``[N, d]`` to ``{output: [N, 1]}``.
        points: The points ``[N, d]``.
        *wanted: What is wanted, as ``"u"``, ``"u_x"`` or ``"u_xx"``: an output, and the coordinates
            with respect to which it is differentiated.
        coordinates: A letter for each column of the points, such as ``"xt"``.

    Returns:
        One tensor ``[N]`` per wanted derivative, in that order.

    Raises:
        ConfigError: If the model has no such output.

    Example:
        >>> import torch
        >>> from mtl_runner.data import derivatives
        >>> model = lambda points: {"u": points[:, :1] ** 3 * points[:, 1:]}
        >>> points = torch.tensor([[2.0, 5.0]])
        >>> [d.item() for d in derivatives(model, points, "u_t", "u_xx", "u_xt", coordinates="xt")]
        [8.0, 60.0, 12.0]
    """
    orders: dict[str, set[str]] = {}
    for name in wanted:
        output, directions = _parsed(name, coordinates)
        orders.setdefault(output, set()).add(directions)
    by_output = {
        output: _of_output(function, output, points, directions, coordinates)
        for output, directions in orders.items()
    }
    parsed = (_parsed(name, coordinates) for name in wanted)
    return [by_output[output]["".join(sorted(directions))] for output, directions in parsed]


def _parsed(name: str, coordinates: str) -> tuple[str, str]:
    """Return output and coordinates of a name such as ``"u_xx"``."""
    output, _, directions = name.rpartition("_")
    if output and set(directions) <= set(coordinates):
        return output, "".join(sorted(directions))
    return name, ""


def _of_output(
    function: Field, output: str, points: Tensor, wanted: set[str], coordinates: str
) -> dict[str, Tensor]:
    """Return an output and its derivatives by their coordinates, ``[N]`` each."""

    def value(x: Tensor) -> dict[str, Tensor]:
        outputs = function(x)
        if output not in outputs:
            raise ConfigError(
                f"The residual asks for the output {output!r}, which the model does not have; {suggest(output, outputs)}."
            )
        # A point's derivative is that of the sum over points.
        return {"": outputs[output].reshape(len(x))}

    extended: Callable[[Tensor], dict[str, Tensor]] = value
    for order in range(max(map(len, wanted))):
        # A derivative is taken of its first coordinates, in the order of the alphabet.
        heads = sorted({name[:order] for name in wanted if len(name) > order})
        extended = _with_gradients(extended, heads, coordinates)
    return extended(points)


def _with_gradients(
    function: Callable[[Tensor], dict[str, Tensor]], names: list[str], coordinates: str
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return a function that adds the derivatives of some of its values.

    Args:
        function: From points to values ``[N]`` by the coordinates of their derivatives.
        names: The values that are differentiated with respect to every coordinate.
        coordinates: A letter for each coordinate.
    """

    def extended(points: Tensor) -> dict[str, Tensor]:
        values, pull_back = vjp(function, points)  # type: ignore[misc]
        result = dict(values)
        zeros = {name: torch.zeros_like(value) for name, value in values.items()}
        for name in names:
            (gradient,) = pull_back({**zeros, name: torch.ones_like(values[name])})
            for letter, column in zip(coordinates, gradient.unbind(1), strict=True):
                result.setdefault("".join(sorted(name + letter)), column)
        return result

    return extended
