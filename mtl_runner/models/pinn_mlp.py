"""A smooth network of few coordinates, as physics-informed training needs it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import is_number, is_whole_number, mapping, positive, whole_number
from mtl_runner.tasks.task import Task


class PinnMLP(nn.Module):
    r"""Fully connected layers with tanh, whose derivatives are smooth, and one head per output.

    .. math:: h_0 = x, \quad\text{or } (\sin 2\pi B x, \cos 2\pi B x); \qquad
        h_{l+1} = \tanh(W_l h_l + b_l)

    where the entries of :math:`B` are drawn once from :math:`N(0, s^2)` and are not trained
    (random Fourier features: Tancik et al., NeurIPS 2020; Wang, Wang & Perdikaris, 2021). Weights
    begin as in Glorot & Bengio (2010), biases at 0.

    Args:
        tasks: The tasks; those with a target are outputs.
        input_shape: Shape of one input: the number of coordinates.
        hidden: Widths of the layers.
        fourier: Number of Fourier features (rows of B); 0: the coordinates themselves.
        fourier_scale: Their scale s: how fast, in waves per unit of a coordinate, they wave.
        unknowns: Positive numbers that are trained with the network, such as an unknown
            viscosity: their first values by name. Their logarithm is the parameter.

    Shape:
        Inputs ``[N, d]``, outputs ``{task: [N, size]}``.

    Raises:
        ConfigError: If an option is impossible.

    Example:
        >>> import torch
        >>> from mtl_runner import Task
        >>> from mtl_runner.models import PinnMLP
        >>> model = PinnMLP([Task("u", size=1)], input_shape=(2,), unknowns={"viscosity": 0.1})
        >>> {name: tuple(output.shape) for name, output in model(torch.zeros(5, 2)).items()}
        {'u': (5, 1)}
        >>> round(model.unknown("viscosity").item(), 3)
        0.1
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Sequence[int],
        hidden: Sequence[int] = (50, 50, 50),
        fourier: int = 0,
        fourier_scale: float = 1.0,
        unknowns: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if (
            not isinstance(hidden, Sequence)
            or not hidden
            or not all(is_whole_number(width, 1) for width in hidden)
        ):
            raise ConfigError(
                f"model.hidden must be a list of at least one positive width, e.g. [50, 50]; found {hidden!r}."
            )
        if isinstance(input_shape, Mapping) or len(input_shape) != 1:
            raise ConfigError(
                f"model=pinn_mlp takes points of some coordinates, [N, d]; these inputs have the shape {input_shape}, so choose another model, such as model=mlp."
            )
        whole_number(fourier, "model.fourier", 0)
        positive(fourier_scale, "model.fourier_scale")
        width = input_shape[0]
        if fourier:
            self.register_buffer("frequencies", fourier_scale * torch.randn(width, fourier))
            width = 2 * fourier
        else:
            self.frequencies = None
        layers: list[nn.Module] = []
        for next_width in hidden:
            layers += [nn.Linear(width, next_width), nn.Tanh()]
            width = next_width
        self.trunk = nn.Sequential(*layers)
        outputs = [task for task in tasks if task.has_target]
        self.names = [task.name for task in outputs]
        # A list, not a ModuleDict: a task may be called "a.b".
        self.heads = nn.ModuleList(nn.Linear(width, task.size) for task in outputs)
        for layer in (*self.trunk, *self.heads):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.unknown_names = []
        logarithms = []
        for name, value in mapping(unknowns, "model.unknowns", "{name: first value}").items():
            if not is_number(value) or value <= 0:
                raise ConfigError(
                    f"model.unknowns.{name} must be a positive number, since its logarithm is trained; found {value!r}."
                )
            self.unknown_names.append(str(name))
            logarithms.append(nn.Parameter(torch.tensor(math.log(value))))
        self.log_unknowns = nn.ParameterList(logarithms)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return each output, ``[N, size]``."""
        if self.frequencies is not None:
            phases = 2 * math.pi * inputs @ self.frequencies
            inputs = torch.cat([phases.sin(), phases.cos()], 1)
        features = self.trunk(inputs)
        return {name: head(features) for name, head in zip(self.names, self.heads, strict=True)}

    def unknown(self, name: str) -> Tensor:
        """Return a trained number, with its graph.

        Args:
            name: Its name in ``unknowns``.

        Raises:
            ConfigError: If the model has none of this name.
        """
        if name not in self.unknown_names:
            raise ConfigError(
                f"The residual asks for the unknown {name!r}, which the model does not have; give its first value, model.unknowns.{name}=1{suggest_known(name, self.unknown_names)}."
            )
        unknown: Tensor = self.log_unknowns[self.unknown_names.index(name)].exp()
        return unknown


def suggest_known(name: str, names: Sequence[str]) -> str:
    """Return a hint at the unknowns that there are; empty if there are none."""
    return f" ({suggest(name, names)})" if names else ""
