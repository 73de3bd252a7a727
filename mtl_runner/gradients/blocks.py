"""Blocks of parameters: the whole, modules, layers or single tensors, read off their names."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_runner.errors.checks import choice

KINDS = ("whole", "module", "layer", "tensor")


def blocks_of(names: Sequence[str], kind: str, key: str = "update.blocks") -> list[list[int]]:
    """Return the parameters of each block, in the order in which the blocks appear.

    Args:
        names: The names of the parameters in their model, such as ``down.0.weight``.
        kind: ``"whole"``: all of them are one block. ``"module"``: each child of the innermost
            module that holds all of them; a numbered child, such as an element of a list, counts by
            itself. ``"layer"``: the parameters of one layer, such as its weight and bias.
            ``"tensor"``: each by itself.
        key: The config key, for the error.

    Returns:
        Positions in ``names``, one list per block.

    Raises:
        ConfigError: If the kind is unknown.

    Example:
        >>> names = ["down.0.conv.weight", "down.0.norm.weight", "down.0.norm.bias", "up.conv.bias"]
        >>> blocks_of(names, "module")
        [[0, 1, 2], [3]]
        >>> blocks_of(names, "layer")
        [[0], [1, 2], [3]]
    """
    choice(kind, key, KINDS)
    paths = [name.split(".") for name in names]
    blocks: dict[tuple[str, ...], list[int]] = {}
    depth = _depth_of_common_module(paths)
    for position, path in enumerate(paths):
        if kind == "whole":
            block: list[str] = []
        elif kind == "module":
            end = depth + 1
            while end < len(path) - 1 and path[end].isdigit():
                end += 1
            block = path[:end]
        else:
            block = path[:-1] if kind == "layer" else path
        blocks.setdefault(tuple(block), []).append(position)
    return list(blocks.values())


def _depth_of_common_module(paths: Sequence[Sequence[str]]) -> int:
    """Return the number of components that the modules of all paths begin with alike."""
    depth = 0
    modules = [path[:-1] for path in paths]
    while modules and all(
        len(module) > depth and module[depth] == modules[0][depth] for module in modules
    ):
        depth += 1
    return depth
