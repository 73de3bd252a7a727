"""A model that makes trouble in one of several processes, at a step that the environment names."""

from __future__ import annotations

import os
import resource
import signal
import time
from typing import Any

import torch.distributed as dist
from torch import Tensor

from mtl_runner.models import MLP


class Trouble(MLP):
    """An MLP with a mistake in it.

    The environment variable ``TROUBLE`` says which process makes it, at which of its training
    passes, and what it is: ``"1 7 raise"``.
    """

    passes = 0

    def forward(self, inputs: Any) -> dict[str, Tensor]:
        rank, number, kind = os.environ.get("TROUBLE", "0 0 none").split()
        if self.training and dist.is_initialized():
            self.passes += 1
            if (dist.get_rank(), self.passes) == (int(rank), int(number)):
                inputs = self.go_wrong(inputs, kind)
        return super().forward(inputs)

    @staticmethod
    def go_wrong(inputs: Any, kind: str) -> Any:
        """Do what is wrong; return the inputs."""
        if kind == "raise":
            raise ValueError("no good")
        if kind == "memory":
            raise MemoryError
        if kind == "exit":
            os._exit(3)
        if kind == "nan":
            return inputs * float("nan")
        if kind == "disk":
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(1)[1]))
        if kind.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[kind])
        while kind == "hang":
            time.sleep(1)
        return inputs
