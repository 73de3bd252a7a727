"""Blocks of parameters, read off their names."""

from __future__ import annotations

import pytest
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.gradients.blocks import blocks_of
from mtl_runner.models import UNet
from mtl_runner.tasks.task import Task


def names_of_blocks(names: list[str], kind: str) -> list[list[str]]:
    """Return the names of the parameters of each block."""
    return [[names[i] for i in block] for block in blocks_of(names, kind)]


def test_a_module_is_a_child_of_the_innermost_module_that_holds_them_all() -> None:
    """Breaks if a trunk is one block for its name, or a list of modules for being a list."""
    names = ["net.conv1.weight", "net.layer1.0.conv.weight", "net.layer1.0.norm.bias"]
    names += ["net.layer1.1.conv.weight"]
    assert names_of_blocks(names, "module") == [names[:1], names[1:3], names[3:]]


def test_a_unet_has_a_block_per_level() -> None:
    """Breaks if the definition in the docs is not what a model of ours gets."""
    tasks = [Task("depth", size=1, places=(16, 16)), Task("edge", size=1, places=(16, 16))]
    model = UNet(tasks, (3, 16, 16), width=4, depth=2)
    names = [name for name, _ in model.named_parameters() if not name.startswith("heads")]
    modules = {".".join(block[0].split(".")[:2]) for block in names_of_blocks(names, "module")}
    assert modules == {"down.0", "down.1", "down.2", "up.0", "up.1"}
    assert len(names_of_blocks(names, "module")) == len(modules)
    # A convolution without bias, and a normalisation with weight and bias.
    assert sorted({len(block) for block in names_of_blocks(names, "layer")}) == [1, 2]


def test_blocks_are_a_partition_in_order() -> None:
    """Breaks if a parameter is lost, or belongs to two blocks."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1)))
    names = [name for name, _ in model.named_parameters()]
    sizes = {}
    for kind in ("whole", "module", "layer", "tensor"):
        blocks = blocks_of(names, kind)
        assert [i for block in blocks for i in block] == list(range(len(names)))
        sizes[kind] = [len(block) for block in blocks]
    assert sizes == {"whole": [6], "module": [2, 2, 2], "layer": [2, 2, 2], "tensor": [1] * 6}


def test_parameters_of_the_model_itself_and_none_at_all() -> None:
    """Breaks if a name without a module, or no name, ends in an index error."""
    assert blocks_of(["scale", "trunk.0.weight"], "module") == [[0], [1]]
    assert blocks_of(["point"], "layer") == [[0]]
    assert [blocks_of([], kind) for kind in ("whole", "module", "layer")] == [[], [], []]


def test_an_unknown_kind_is_refused() -> None:
    """Breaks if a typing mistake trains with other blocks."""
    sentence = "update.blocks='layers' is unknown; allowed: whole, module, layer, tensor."
    with pytest.raises(ConfigError, match=f"^{sentence}$"):
        blocks_of(["a"], "layers")
