"""The state of TorchJD's stateful aggregators as plain values: their own ``state_dict`` is empty, or does not load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Where each keeps its state: the attribute that holds it, and the names of its parts.
STATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ExcessMTL": (
        "weighting",
        ("_weights", "_sq_grad_sum", "_initial_w", "_warmup_w_sum", "_n_steps"),
    ),
    "GradVac": ("gramian_weighting", ("_phi_t",)),
    "PCD": ("gramian_weighting", ("_sq_norm_ema", "_n_steps")),
}


def get_state(aggregator: Any) -> dict[str, Any]:
    """Tensors and numbers; empty for an aggregator without state."""
    kind = type(aggregator).__name__
    if kind not in STATES:
        return {}
    attribute, names = STATES[kind]
    holder = getattr(aggregator, attribute)
    return {name: getattr(holder, name) for name in names}


def set_state(aggregator: Any, saved: Mapping[str, Any]) -> None:
    """Put back what :func:`get_state` gave."""
    kind = type(aggregator).__name__
    if kind not in STATES or not saved:
        return
    attribute, names = STATES[kind]
    holder = getattr(aggregator, attribute)
    for name, value in saved.items():
        setattr(holder, name, value)
    tensor = saved["_sq_grad_sum" if kind == "ExcessMTL" else names[0]]
    if tensor is None:
        return
    keys = {  # by which it knows whether the state fits the rows
        "GradVac": (len(tensor), tensor.dtype),
        "PCD": len(tensor),
        "ExcessMTL": (*tensor.shape, tensor.dtype, tensor.device),
    }
    holder._state_key = keys[kind]
