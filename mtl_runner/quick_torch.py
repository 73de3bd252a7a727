"""Imports torch without its compiler.

The first ``torch.optim.Optimizer`` of a process imports ``torch._dynamo`` (1 CPU second of a run that may last two) only to mark
four of its methods as not to be compiled, by a decorator that looks up the marked function in an attribute before it imports
anything (``torch/_compile.py``). Filling in that attribute skips the import. If torch changes, this does nothing.
"""

from __future__ import annotations

import sys

import torch


def defer_compiler() -> None:
    """Let optimizers be made without importing the compiler; it is imported as ever when something is compiled."""
    if "torch._dynamo" in sys.modules:
        return
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        plain = getattr(getattr(torch.optim.Optimizer, name, None), "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            plain.__dynamo_disable = plain
