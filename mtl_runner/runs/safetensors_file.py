"""``best.safetensors``: the weights of the best model for programs that know nothing of a run."""

from __future__ import annotations

from torch import Tensor, nn

from mtl_runner.config.extras import import_extra
from mtl_runner.files import write_atomic
from mtl_runner.gradients.shards import full_tensor
from mtl_runner.train.trainer import Trainer

FILE = "best.safetensors"


def check_safetensors() -> None:
    """Look whether the file can be written, before a run trains for it.

    Raises:
        ConfigError: If safetensors is not installed.
    """
    import_extra("safetensors.torch", "safetensors", "record.safetensors=true")


def safetensors_bytes(model: nn.Module, purpose: str) -> bytes:
    """Return the weights of a model as a file, under the names of its ``state_dict``.

    Args:
        model: The model.
        purpose: The option that asks for the file, for the error.

    Raises:
        ConfigError: If safetensors is not installed.
    """
    safetensors = import_extra("safetensors.torch", "safetensors", purpose)
    # The format holds no tensor twice, so those that share memory are written as copies.
    tensors: dict[str, Tensor] = {
        name: full_tensor(tensor.detach()).cpu().contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    # Hugging Face's readers ask for this entry.
    content: bytes = safetensors.save(tensors, metadata={"format": "pt"})
    return content


def write_safetensors(trainer: Trainer) -> None:
    """Write the weights of a run's best model, under the names of the model's ``state_dict``.

    Args:
        trainer: The trained run.

    Raises:
        OSError: If the file cannot be written.
    """
    with trainer.best.loaded() as model:
        content = safetensors_bytes(model, "record.safetensors=true")
    if trainer.writes:
        write_atomic(trainer.directory / FILE, content)
