"""``best.safetensors``: the weights of the best model for programs that know nothing of a run."""

from __future__ import annotations

from torch import Tensor

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


def write_safetensors(trainer: Trainer) -> None:
    """Write the weights of a run's best model, under the names of the model's ``state_dict``.

    Args:
        trainer: The trained run.

    Raises:
        OSError: If the file cannot be written.
    """
    safetensors = import_extra("safetensors.torch", "safetensors", "record.safetensors=true")
    with trainer.best.loaded() as model:
        # The format holds no tensor twice, so those that share memory are written as copies.
        tensors: dict[str, Tensor] = {
            name: full_tensor(tensor.detach()).cpu().contiguous().clone()
            for name, tensor in model.state_dict().items()
        }
    if trainer.writes:
        # Hugging Face's readers ask for this entry.
        write_atomic(trainer.directory / FILE, safetensors.save(tensors, metadata={"format": "pt"}))
