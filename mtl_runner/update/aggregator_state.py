"""The state of TorchJD's stateful aggregators as plain values: their own ``state_dict`` is empty, or does not load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Where each keeps its state: the attribute that holds it, and the names of its parts.
STATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ExcessMTL": ("weighting", ("_weights", "_sq_grad_sum", "_initial_w", "_warmup_w_sum", "_n_steps")),
    "GradVac": ("gramian_weighting", ("_phi_t",)),
    "NashMTL": ("weighting", ("step", "prvs_alpha", "normalization_factor")),
    "PCD": ("gramian_weighting", ("_sq_norm_ema", "_n_steps")),
}


def get_state(aggregator: Any) -> dict[str, Any]:
    """Tensors and numbers; empty for an aggregator without state."""
    kind = type(aggregator).__name__
    if kind not in STATES:
        return {}
    attribute, names = STATES[kind]
    holder = getattr(aggregator, attribute)
    values = {name: getattr(holder, name) for name in names}
    return {name: torch.as_tensor(v) if hasattr(v, "dtype") and not isinstance(v, Tensor) else v for name, v in values.items()}


def set_state(aggregator: Any, saved: Mapping[str, Any]) -> None:
    """Put back what :func:`get_state` gave."""
    kind = type(aggregator).__name__
    if kind not in STATES or not saved:
        return
    attribute, names = STATES[kind]
    holder = getattr(aggregator, attribute)
    for name, value in saved.items():
        setattr(holder, name, value)
    if kind == "NashMTL":  # its arrays are NumPy's, and its problem is made at its first call
        holder.prvs_alpha, holder.normalization_factor = (saved[name].cpu().numpy() for name in names[1:])
        holder._init_optim_problem()
        return
    tensor = saved["_sq_grad_sum" if kind == "ExcessMTL" else names[0]]
    if tensor is None:
        return
    keys = {  # by which it knows whether the state fits the rows
        "GradVac": (len(tensor), tensor.dtype),
        "PCD": len(tensor),
        "ExcessMTL": (*tensor.shape, tensor.dtype, tensor.device),
    }
    holder._state_key = keys[kind]
