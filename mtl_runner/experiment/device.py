"""The device of a run: which one, in which precision, and how it computes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mtl_runner.config.settings import TrainerOptions
from mtl_runner.data.dataset import Split
from mtl_runner.data.prepare import Prepared
from mtl_runner.errors import ConfigError

# Number of parameters below which a second CPU thread costs more than it gives.
SMALL_MODEL = 2_000_000

ALL_THREADS = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
)


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` takes a GPU if there is one.

    Raises:
        ConfigError: For a device that this machine does not have.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"trainer.device={name!r} is not a device; use auto, cpu, cuda or cuda:0."
        ) from None
    if device.type == "cuda" and (
        not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()
    ):
        raise ConfigError(
            f"trainer.device={name}: this machine has {torch.cuda.device_count()} CUDA GPUs; use auto or cpu."
        )
    if device.type == "mps":
        raise ConfigError(
            "trainer.device=mps has no float64, in which evaluations add up their sums; use cpu."
        )
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"trainer.device={name!r} is not supported; use auto, cpu, cuda or cuda:0."
        )
    return device


def prepare_device(device: torch.device, options: TrainerOptions) -> None:
    """Set how the device computes, also after another run of this process.

    Args:
        device: The device of the run.
        options: The options of the trainer.
    """
    torch.set_float32_matmul_precision(options.matmul)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def use_channels_last(model: nn.Module, device: torch.device, options: TrainerOptions) -> bool:
    """Return whether the weights of a model's convolutions are laid out with the channels last.

    ``auto`` does so where it pays: on a GPU in half precision, unless the model is sharded.

    Args:
        model: The model; one without two-dimensional convolutions stays as it is.
        device: The device of the run.
        options: The options of the trainer.

    Example:
        >>> model, cpu = nn.Sequential(nn.Conv2d(1, 1, 1)), torch.device("cpu")
        >>> for option in ("auto", True, False):
        ...     print(use_channels_last(model, cpu, TrainerOptions(channels_last=option)))
        False
        True
        False
    """
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return False
    if isinstance(options.channels_last, bool):
        return options.channels_last
    is_half = options.precision in ("bf16", "fp16")
    # Parameters are cut along their first dimension, and must lie in memory in that order.
    return device.type == "cuda" and is_half and options.parallel == "data"


def check_precision(
    precision: str, data: Prepared, device: torch.device, update: Mapping[str, Any]
) -> None:
    """Check that a precision can be had.

    Args:
        precision: ``trainer.precision``.
        data: The dataset.
        device: The device of the run.
        update: The config of the update.

    Raises:
        ConfigError: If the device, the data or the update does not take it.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ConfigError(
            f"trainer.precision=fp16 needs a GPU, and this run is on {device}; use bf16, which works everywhere."
        )
    if precision == "fp16" and update.get("gradients") == "fresh":
        raise ConfigError(
            "trainer.precision=fp16 leaves a whole step out when a gradient is too large, but update.gradients=fresh has stepped some tasks by then; use bf16, or gradients=same."
        )
    if precision == "float64" and not all(isinstance(s, Split) for s in data.splits.values()):
        raise ConfigError(
            "trainer.precision=float64 needs splits that are whole tensors, and these are read item by item; use float32 or bf16."
        )


def set_threads(
    threads: str | int, model: nn.Module, device: torch.device, processes: int = 1
) -> None:
    """Set the number of CPU threads, also after a run of this process with fewer.

    Args:
        threads: ``trainer.threads``.
        model: The model: a small one is slower with several threads.
        device: The device of the run.
        processes: Number of processes of the run on this machine.
    """
    small = device.type == "cpu" and sum(p.numel() for p in model.parameters()) < SMALL_MODEL
    torch.set_num_threads(
        int(threads) if threads != "auto" else 1 if small else max(1, ALL_THREADS // processes)
    )
