"""Encoders of Hugging Face, pooled."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mtl_runner.config.extras import import_extra
from mtl_runner.errors import ConfigError
from mtl_runner.models.backbones.network import Network, downloading, first_line
from mtl_runner.models.backbones.weights import are_left_out

# Configs of Hugging Face that name a second network, which would be downloaded.
SECOND_NETWORKS = ("backbone", "backbone_config", "use_timm_backbone", "architecture")


class HuggingFaceNetwork(Network):
    """An encoder of Hugging Face (``AutoModel``), pooled.

    Args:
        name: A folder with its config, or its name on the hub.
        pretrained: Whether to load its pretrained weights, too.
        config: Its recorded config; nothing is opened then.

    Raises:
        ConfigError: If transformers is not installed, or the model cannot be read.
    """

    def __init__(
        self, name: str, pretrained: bool, config: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        transformers = import_extra("transformers", "hf", f"model.name={name}")
        if config is None and are_left_out():
            raise ConfigError(f"The config of the encoder {name!r} was not recorded in this run.")
        try:
            # Code that a repository brings is never run.
            fetched = config is None and not Path(name).is_dir()
            with downloading(name) if fetched else contextlib.nullcontext():
                known = (
                    transformers.AutoConfig.for_model(**_plain_config(config))
                    if config is not None
                    else transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
                )
                values = _plain_config(known.to_dict())
                self.network = (
                    transformers.AutoModel.from_pretrained(name, trust_remote_code=False)
                    if pretrained
                    else transformers.AutoModel.from_config(
                        transformers.AutoConfig.for_model(**values), trust_remote_code=False
                    )
                )
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"The encoder {name!r} of Hugging Face cannot be made ({first_line(error)}); give the name of one, or on a machine without network a folder with its config.json and, for model.weights=pretrained, its model.safetensors."
            ) from error
        self.record["config"] = values

    def features(self, inputs: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Return one vector per row: the encoder's own, or the mean over places or words."""
        output = self.network(**inputs) if isinstance(inputs, Mapping) else self.network(inputs)
        pooled = getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)  # type: ignore[no-any-return]
        states: Tensor = output.last_hidden_state
        if states.dim() == 4:
            return states.mean((2, 3))
        mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
        if mask is None:
            return states.mean(1)
        weights = mask.to(states.dtype).unsqueeze(-1)
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1)

    def maps(self, inputs: Tensor | Mapping[str, Tensor]) -> tuple[list[Tensor], Tensor]:
        """Raise ``ConfigError``: there are no feature maps."""
        del inputs
        raise ConfigError(
            "Encoders of Hugging Face give one vector per row here, but a task has an answer per pixel; choose model.library=timm."
        )


def _plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without what would run or download something.

    Raises:
        ConfigError: If the encoder is made of a second network that the config names.
    """
    for key in SECOND_NETWORKS:
        if config.get(key):
            raise ConfigError(
                f"The encoder is made of another network, which its config names ({key}); choose one that stands for itself."
            )
    left_out = ("auto_map", "_name_or_path", "transformers_version", "dtype", "torch_dtype")
    return {key: value for key, value in config.items() if key not in left_out}
