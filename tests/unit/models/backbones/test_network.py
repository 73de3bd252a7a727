"""Networks in general: their forward pass, and the sentences of what fails."""

from __future__ import annotations

import logging

import pytest
import torch

from mtl_runner.models.backbones.network import downloading, first_line, not_downloaded
from tests.unit.models.backbones.networks import TwoMaps


def test_the_forward_pass_of_a_network_gives_its_features() -> None:
    """Breaks if a network that is called gives something else than vectors."""
    network, images = TwoMaps(), torch.rand(2, 3, 8, 8)
    assert torch.equal(network(images), network.features(images))
    assert network.record == {}


@pytest.mark.parametrize(
    ("error", "line"),
    [(OSError("No route.\nMore of it"), "No route"), (ValueError(), "ValueError")],
)
def test_the_error_of_a_library_is_part_of_one_sentence(error: Exception, line: str) -> None:
    """Breaks if a sentence of ours holds the lines of another library."""
    assert first_line(error) == line
    assert f"of 'resnet18' could not be downloaded ({line}); on a machine" in str(
        not_downloaded("resnet18", error)
    )


def test_the_tries_of_a_download_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks if a machine without network gets two lines per try, or no word while it waits."""
    tries = logging.getLogger("huggingface_hub.utils._http")
    level = logging.getLogger("huggingface_hub").level
    with caplog.at_level(logging.INFO), downloading("resnet18"):
        tries.warning("Retrying in 1s [Retry 1/5].")
        tries.error("what stops it")
    assert caplog.messages == [
        "Fetching 'resnet18' from the Hugging Face hub, or from its cache; without network the library gives up after about a minute.",
        "what stops it",
    ]
    assert logging.getLogger("huggingface_hub").level == level
