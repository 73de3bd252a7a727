"""A small network for tests that need no library."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mtl_runner.models.backbones.network import Network


class TwoMaps(Network):
    """A convolution and a coarser one; the features are the means of the coarse map."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.ModuleList([nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 5, 2, 2)])

    def features(self, inputs: Any) -> Tensor:
        return self.maps(inputs)[1]

    def maps(self, inputs: Any) -> tuple[list[Tensor], Tensor]:
        fine = self.network[0](inputs)  # type: ignore[index]
        coarse = self.network[1](fine)  # type: ignore[index]
        return [fine, coarse], coarse.mean((2, 3))
