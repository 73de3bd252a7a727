"""The state of TorchJD's stateful aggregators, for checkpoints.

The ``state_dict`` of these aggregators is empty, or cannot be loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Per class: the attribute that holds the object with the state, and the names of the state's parts.
STATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ExcessMTL": (
        "weighting",
        ("_weights", "_sq_grad_sum", "_initial_w", "_warmup_w_sum", "_n_steps"),
    ),
    "GradVac": ("gramian_weighting", ("_phi_t",)),
    "PCD": ("gramian_weighting", ("_sq_norm_ema", "_n_steps")),
}


def get_state(aggregator: Any) -> dict[str, Any]:
    """Return the state of an aggregator as tensors and numbers; empty if it has no state.

    Example:
        >>> import torch
        >>> from torchjd.aggregation import GradVac, Mean
        >>> aggregator = GradVac()
        >>> _ = aggregator(torch.eye(2))
        >>> list(get_state(aggregator)), list(get_state(Mean()))
        (['_phi_t'], [])
    """
    class_name = type(aggregator).__name__
    if class_name not in STATES:
        return {}
    attribute, names = STATES[class_name]
    holder = getattr(aggregator, attribute)
    return {name: getattr(holder, name) for name in names}


def set_state(aggregator: Any, saved: Mapping[str, Any]) -> None:
    """Restore a state that :func:`get_state` returned.

    Args:
        aggregator: A fresh aggregator of the same class.
        saved: The state; an empty one changes nothing.
    """
    class_name = type(aggregator).__name__
    if class_name not in STATES or not saved:
        return
    attribute, names = STATES[class_name]
    holder = getattr(aggregator, attribute)
    for name, value in saved.items():
        setattr(holder, name, value)
    tensor = saved["_sq_grad_sum" if class_name == "ExcessMTL" else names[0]]
    if tensor is None:
        return
    # The aggregator compares this key with the rows, and starts anew where they differ.
    keys = {
        "GradVac": (len(tensor), tensor.dtype),
        "PCD": len(tensor),
        "ExcessMTL": (*tensor.shape, tensor.dtype, tensor.device),
    }
    holder._state_key = keys[class_name]
