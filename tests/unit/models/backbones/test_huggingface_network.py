"""Encoders of Hugging Face, made again from their config."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtl_runner import Task
from mtl_runner.errors import ConfigError
from mtl_runner.models import Backbone
from mtl_runner.models.backbones.weights import without_first_weights

pytestmark = pytest.mark.images


def test_an_encoder_of_hugging_face_is_made_again_from_its_config(tmp_path: Path) -> None:
    """Breaks if ``load`` needs the folder of the encoder, or makes another network."""
    transformers = pytest.importorskip("transformers", reason="pip install 'mtl-runner[hf]'")
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "encoder")
    tasks = [Task("sort", "classification", size=3)]
    shape = {"input_ids": (5,), "attention_mask": (5,)}
    model = Backbone(tasks, shape, name=str(tmp_path / "encoder"), weights="pretrained").eval()
    saved = transformers.BertModel.from_pretrained(tmp_path / "encoder").eval()
    words = {
        "input_ids": torch.tensor([[1, 2, 3, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0, 0]]),
    }
    torch.testing.assert_close(model.network(words), saved(**words).pooler_output)
    options = model.rebuild_options
    assert options["library"] == "huggingface"
    with without_first_weights():
        again = Backbone(tasks, shape, name="/not/there", **options).eval()
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(words), model(words))
    with without_first_weights(), pytest.raises(ConfigError, match="was not recorded"):
        Backbone(tasks, shape, name="/not/there", library="huggingface")
