"""The private parts of other packages that compat/ touches are where they were.

Where a new version moves one, the test says which, and which file has to change.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version

import pytest
import torch
from torch import nn

from mtl_runner.compat import torch_modules
from mtl_runner.gradients.parameters import leaves_of


def _hydra_loader() -> bool:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname

    wanted = {"overrides", "kv_sep", "item_sep", "exclude_keys"}
    has_names = wanted <= set(inspect.signature(get_overrides_dirname).parameters)
    return has_names and callable(getattr(ConfigLoaderImpl, "_apply_overrides_to_config", None))


def _hydra_launcher() -> bool:
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    return {"setup", "launch"} <= set(dir(BasicLauncher))


def _omegaconf_dumper() -> bool:
    from omegaconf._utils import get_omega_conf_dumper

    return callable(get_omega_conf_dumper().str_representer)


def _torch_wrappers() -> bool:
    # The first optimizer of a class wraps the step of the class.
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    inner = getattr(getattr(type(optimizer).step, "__wrapped__", None), "__wrapped__", None)
    return inner is not None and inner.__qualname__.endswith(".step")


def _torch_hooks() -> bool:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    return hasattr(optimizer, "_optimizer_step_pre_hooks") and hasattr(
        optimizer, "_optimizer_step_post_hooks"
    )


def _torch_layers() -> bool:
    layers = (nn.Dropout(0.1), nn.Dropout2d(0.1), nn.BatchNorm1d(2), nn.BatchNorm2d(2))
    random = [torch_modules.draws_at_random(layer) for layer in layers]
    running = [torch_modules.keeps_running_statistics(layer) for layer in layers]
    return random == [True, True, False, False] and running == [False, False, True, True]


def _torch_graph() -> bool:
    first, second = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    used = leaves_of(((first * 2) * second).sum())
    return set(used) == {first, second} and used[second] > used[first]


# Per part: the package, the file of compat/ that touches it, and whether it is there.
PARTS: dict[str, tuple[str, str, Callable[[], bool]]] = {
    "how Hydra puts overrides into a config": ("hydra-core", "hydra_compose.py", _hydra_loader),
    "Hydra's basic launcher": ("hydra-core", "hydra_launcher.py", _hydra_launcher),
    "OmegaConf's YAML dumper": ("omegaconf", "omegaconf_yaml.py", _omegaconf_dumper),
    "the wrappers of Optimizer.step": ("torch", "torch_optimizers.py", _torch_wrappers),
    "the hooks of an optimizer": ("torch", "torch_optimizers.py", _torch_hooks),
    "the bases of dropout and BatchNorm": ("torch", "torch_modules.py", _torch_layers),
    "the sequence number of autograd's nodes": ("torch", "torch_modules.py", _torch_graph),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_private_part_is_where_it_was(part: str) -> None:
    """Breaks if a new version of a package moves what compat/ touches."""
    package, file, is_there = PARTS[part]
    try:
        there = is_there()
    except (ImportError, AttributeError, TypeError) as error:
        pytest.fail(
            f"{package} {version(package)} moved {part} ({error}); mend mtl_runner/compat/{file}."
        )
    assert there, f"{package} {version(package)} moved {part}; mend mtl_runner/compat/{file}."
