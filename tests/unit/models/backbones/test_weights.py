"""First weights: files in their forms, prefixes, what is left out, and what is refused."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from mtl_runner.errors import ConfigError
from mtl_runner.models.backbones.weights import (
    are_left_out,
    load_weights,
    read_weights,
    without_first_weights,
)


def network() -> nn.Sequential:
    """Return a small network with normalization."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize("form", ["plain", "state_dict", "model", "prefix", "best"])
def test_every_usual_form_of_a_file_is_read(tmp_path: Path, form: str) -> None:
    """Breaks if weights in a wrapper, or under a prefix, are not found or are others."""
    source, state = network(), {}
    state = source.state_dict()
    under = {f"backbone.network.{name}": value for name, value in state.items()}
    content = {
        "plain": state,
        "state_dict": {"state_dict": state, "epoch": 3},
        "model": {"model": {f"module.{k}": v for k, v in state.items()}},
        "prefix": under,
        "best": {"weights": {"": under}},
    }[form]
    torch.save(content, tmp_path / "weights.pt")
    loaded = network()
    load_weights(loaded, str(tmp_path / "weights.pt"), "small")
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_classifier_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks if a file of a whole model is refused, or leftovers go by without a word."""
    state = {**network().state_dict(), "fc.weight": torch.zeros(2, 4)}
    torch.save(state, tmp_path / "weights.pt")
    with caplog.at_level(logging.INFO, logger="mtl_runner"):
        load_weights(network(), str(tmp_path / "weights.pt"), "small")
    assert "1 tensors" in caplog.text
    assert "fc.weight" in caplog.text


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    """Breaks if a file of another network is loaded in part, or refused without a reason."""
    file = tmp_path / "weights.pt"
    state = network().state_dict()
    torch.save({**state, "0.weight": torch.zeros(4, 1, 3, 3)}, file)
    with pytest.raises(ConfigError, match=r"'0\.weight' of shape \(4, 1, 3, 3\), the backbone of"):
        load_weights(network(), str(file), "small")
    torch.save({"other.weight": torch.zeros(2)}, file)
    with pytest.raises(ConfigError, match=r"lacks 6 of the 7 tensors of the backbone, such as"):
        load_weights(network(), str(file), "small")
    torch.save({"epoch": 3}, file)
    with pytest.raises(ConfigError, match="holds no weights; save them with"):
        load_weights(network(), str(file), "small")
    with pytest.raises(ConfigError, match="is not a file"):
        read_weights(str(tmp_path / "none.pt"))


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    """Breaks if a downloaded file can run code."""

    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "was_run",)  # type: ignore[return-value]

    torch.save({"weights": Code()}, tmp_path / "bad.pt", pickle_module=pickle)
    with pytest.raises(ConfigError, match="without running code"):
        read_weights(str(tmp_path / "bad.pt"))
    assert not (tmp_path / "was_run").exists()


def test_weights_are_left_out_inside_the_block_only() -> None:
    """Breaks if loading a run opens files, or a later run begins without its weights."""
    with without_first_weights():
        assert are_left_out()
    assert not are_left_out()


def test_a_file_of_a_deeper_network_is_refused(tmp_path: Path) -> None:
    """Breaks if half of a larger network is trained on as if it were the named one."""

    def stages(layers: int) -> nn.Sequential:
        stage = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(layers)))
        return nn.Sequential(stage, nn.Sequential(nn.BatchNorm2d(3), nn.Identity()))

    file, right = tmp_path / "weights.pt", stages(2)
    torch.save(stages(3).state_dict(), file)
    sentence = r"holds 2 tensors more than the backbone and a classifier, such as '0\.2\.weight'; it looks like another network than model\.name=small\.$"
    with pytest.raises(ConfigError, match=sentence):
        load_weights(right, str(file), "small")
    torch.save({f"module.{k}": v for k, v in stages(3).state_dict().items()}, file)
    with pytest.raises(ConfigError, match=sentence):
        load_weights(right, str(file), "small")
    # A classifier of two layers where the network has none, a buffer of an older version of a
    # known layer, and the head of another model beside the network.
    more = {"1.1.fc1.weight": torch.zeros(2, 3), "0.0.mask": torch.zeros(1)}
    torch.save({**right.state_dict(), **more, "projector.0.weight": torch.zeros(2)}, file)
    load_weights(right, str(file), "small")
