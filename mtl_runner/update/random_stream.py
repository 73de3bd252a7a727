"""A random stream of its own for code that draws from torch's global generators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class RandomStream:
    """A random stream that is lent to foreign code in place of the global generators.

    Batch order and dropout, which draw from the global generators (CPU, and the GPU in use), are
    then the same whatever that code draws.

    Args:
        seed: Seed of the stream.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> before = torch.get_rng_state()
        >>> stream = RandomStream(seed=1)
        >>> with stream.on(torch.device("cpu")):
        ...     numbers = torch.rand(3)
        >>> bool((torch.get_rng_state() == before).all())
        True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.states: dict[str, Tensor] = {"cpu": torch.Generator().manual_seed(seed).get_state()}

    @contextlib.contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """Let the global generators draw from the stream, within a ``with`` block."""
        outer = torch.get_rng_state()
        torch.set_rng_state(self.states["cpu"])
        outer_cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        if outer_cuda is not None:
            if "cuda" not in self.states:
                self.states["cuda"] = torch.Generator(device).manual_seed(self.seed).get_state()
            torch.cuda.set_rng_state(self.states["cuda"], device)
        try:
            yield
        finally:
            self.states["cpu"] = torch.get_rng_state()
            torch.set_rng_state(outer)
            if outer_cuda is not None:
                self.states["cuda"] = torch.cuda.get_rng_state(device)
                torch.cuda.set_rng_state(outer_cuda, device)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the generator of each kind of device."""
        return dict(self.states)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`."""
        self.states = {name: saved.cpu() for name, saved in state.items()}
