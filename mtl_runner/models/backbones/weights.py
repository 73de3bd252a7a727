"""First weights of a backbone: from a local file, and never from anywhere when a run is loaded."""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.config.extras import import_extra
from mtl_runner.errors import ConfigError

log = logging.getLogger("mtl_runner")

# Keys under which files keep the weights beside other things.
INSIDE = ("state_dict", "model_state_dict", "model", "weights", "")

_rebuilding: ContextVar[bool] = ContextVar("rebuilding", default=False)


@contextlib.contextmanager
def without_first_weights() -> Iterator[None]:
    """Make models without first weights in a ``with`` block: nothing is downloaded or opened.

    A run that is loaded has its weights in ``best.pt``; the file or the site from which its
    training began may be gone, or be named by somebody who should not be trusted.

    Example:
        >>> with without_first_weights():
        ...     are_left_out()
        True
    """
    token = _rebuilding.set(True)
    try:
        yield
    finally:
        _rebuilding.reset(token)


def are_left_out() -> bool:
    """Return whether models are made without first weights now."""
    return _rebuilding.get()


def read_weights(path: str) -> dict[str, Tensor]:
    """Return the tensors of a file of weights, by name.

    Args:
        path: A file of safetensors, or one that ``torch.save`` wrote; code in it is not run.

    Raises:
        ConfigError: If there is no such file, or it holds no weights.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "weights.pt")
        ...     torch.save({"state_dict": {"fc.bias": torch.zeros(2)}}, file)
        ...     read_weights(str(file))
        {'fc.bias': tensor([0., 0.])}
    """
    file = weights_file(path)
    try:
        if file.suffix == ".safetensors":
            torch_files = import_extra("safetensors.torch", "timm", "A file of safetensors")
            content: Any = torch_files.load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except ConfigError:
        raise
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise ConfigError(
            f"model.weights={path!r} holds no weights that can be read without running code; save the tensors alone: torch.save(model.state_dict(), file)."
        ) from error
    except Exception as error:  # safetensors has an error class of its own
        raise ConfigError(
            f"model.weights={path!r} cannot be read as safetensors ({type(error).__name__}); is the file whole?"
        ) from error
    tensors = _tensors(content)
    if not tensors:
        raise ConfigError(
            f"model.weights={path!r} holds no weights; save them with torch.save(model.state_dict(), file)."
        )
    return tensors


def weights_file(path: str) -> Path:
    """Return the file of ``model.weights``.

    Args:
        path: The file as it was typed.

    Raises:
        ConfigError: If there is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(
            f"model.weights={path!r} is not a file (looked in {file.absolute().parent}); give a file of safetensors or torch.save, pretrained, or null."
        )
    return file


def _tensors(content: Any) -> dict[str, Tensor]:
    """Return the tensors by name, of a file that may hold them beside other things."""
    while isinstance(content, Mapping):
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
        content = next((content[key] for key in INSIDE if key in content), None)
    return {}


def load_weights(network: nn.Module, path: str, name: str) -> None:
    """Load the weights of a file into a network; those of a classifier are left over.

    Names in the file may have a prefix, as those of a model that held such a network.

    Args:
        network: The network, without its classifier.
        path: The file.
        name: What the network is called in ``model.name``.

    Raises:
        ConfigError: If the file lacks weights of the network, has some of another shape, or has
            more than a network of this name.
    """
    tensors = read_weights(path)
    wanted = network.state_dict()
    prefix = _prefix(tensors, list(wanted))
    matching = {key: tensors[prefix + key] for key in wanted if prefix + key in tensors}
    # Files from before PyTorch 0.4.1 have no such counters.
    missing = [
        key for key in wanted if key not in matching and not key.endswith("num_batches_tracked")
    ]
    if missing:
        raise ConfigError(
            f"model.weights={path!r} lacks {len(missing)} of the {len(wanted)} tensors of the backbone, such as {missing[0]!r} (it holds {', '.join(map(repr, list(tensors)[:2]))}, ...); is it of another model.name or model.library?"
        )
    for key, tensor in matching.items():
        if tensor.shape != wanted[key].shape:
            raise ConfigError(
                f"model.weights={path!r} has {key!r} of shape {tuple(tensor.shape)}, the backbone of shape {tuple(wanted[key].shape)}; channels and size of the images, and model.name, must be those of the file."
            )
    left = [key for key in tensors if key.removeprefix(prefix) not in matching]
    inside = [key.removeprefix(prefix) for key in left if key.startswith(prefix)]
    foreign = [key for key in inside if _is_of_another_network(key, network)]
    if foreign:
        raise ConfigError(
            f"model.weights={path!r} holds {len(foreign)} tensors more than the backbone and a classifier, such as {foreign[0]!r}; it looks like another network than model.name={name}."
        )
    network.load_state_dict(matching, strict=False)
    if left:
        log.info(
            "model.weights: %d tensors of %r are not the backbone's and were left out: %s.",
            len(left),
            path,
            ", ".join(left[:4]) + (", ..." if len(left) > 4 else ""),
        )


def _is_of_another_network(key: str, network: nn.Module) -> bool:
    """Return whether a tensor belongs to a layer that a part of the network should have, but lacks.

    A classifier lies beside the parts, or where the network has an empty layer in its place.

    Args:
        key: Name of a tensor that the network does not have.
        network: The network.
    """
    modules = dict(network.named_modules())
    *ancestors, _ = key.split(".")
    paths = [".".join(ancestors[:length]) for length in range(len(ancestors), 0, -1)]
    nearest = next((path for path in paths if path in modules), None)
    # A known layer may have had another buffer in another version of its library.
    if nearest is None or nearest == paths[0]:
        return False
    return bool(modules[nearest].state_dict())


def _prefix(tensors: Mapping[str, Tensor], wanted: list[str]) -> str:
    """Return the prefix of the names in a file under which most wanted ones are found."""
    first = wanted[0] if wanted else ""
    prefixes = {"", *(name.removesuffix(first) for name in tensors if name.endswith(f".{first}"))}
    return max(
        sorted(prefixes), key=lambda prefix: sum(prefix + name in tensors for name in wanted)
    )
