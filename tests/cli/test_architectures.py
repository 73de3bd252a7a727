"""Mixtures of experts, cross-stitch networks and MTAN as typed: trained, listed, loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mtl_runner
from tests.support.commands import Command

QUICK = ("trainer.epochs=1", "trainer.device=cpu", "record.plots=none", "hydra.run.dir=run")
UNET = ("model.trunk.width=4", "model.trunk.depth=1")
DIGITS = ("data=multi_digits", "data.rows=96", "data.batch_size=32")


@pytest.mark.parametrize(
    ("options", "class_name"),
    [
        (("model=mmoe", "model/trunk=lenet", "model.trunk.features=8"), "MMoE"),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (
                (("model=dselect_k", "model.trunk.hidden=[8]", "model.gates=constant"), "DSelectK"),
                (("model=cgc", "model/trunk=unet", *UNET), "CGC"),
                (("model=ple", "model/trunk=lenet", "model.levels=3"), "PLE"),
                (("model=cross_stitch", "model/trunk=lenet"), "CrossStitch"),
                (("model=mtan", "model.width=4", "model.depth=1"), "MTAN"),
            )
        ),
    ],
)
def test_an_architecture_is_trained_and_loaded(
    mtl: Command, tmp_path: Path, options: tuple[str, ...], class_name: str
) -> None:
    """Breaks `model=... model/trunk=...`, or best.pt names a class that `load` does not know."""
    result = mtl("mtl-run", *options, *DIGITS, *QUICK)
    assert result.code == 0, result.err
    predictor = mtl_runner.load(tmp_path / "run")
    assert type(predictor.model).__name__ == class_name
    answers = predictor.predict(torch.zeros(2, 1, 12, 12))
    assert {name: tuple(answer.shape) for name, answer in answers.items()} == {
        "left": (2,),
        "right": (2,),
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("model=mmoe", "model/trunk=lent"),
            "model/trunk=lent does not exist; did you mean 'lenet'? allowed: lenet, mlp, resnet, unet.",
        ),
        (
            ("model=mmoe", "model.trunk.hidden=3"),
            "model.trunk.hidden must be a list of positive widths, e.g. [64, 64]; found 3.",
        ),
        (
            ("model=cross_stitch", "model/trunk=unet", *DIGITS),
            "model=cross_stitch needs a trunk of stages one after another, which UNetTrunk does not have; choose model/trunk=mlp or lenet, or an nn.Sequential of your own.",
        ),
    ],
)
def test_a_trunk_that_does_not_fit_has_its_sentence(
    mtl: Command, options: tuple[str, ...], sentence: str
) -> None:
    """Breaks if a wrong trunk ends in a traceback."""
    result = mtl("mtl-run", *options, *QUICK)
    assert result.code == 1
    assert result.last_line == sentence


def test_every_architecture_is_listed_with_its_paper(mtl: Command) -> None:
    """Breaks the table of models: an architecture without its source."""
    result = mtl("mtl-run", "--list", "model")
    for name in ("mmoe", "cgc", "ple", "cross_stitch", "dselect_k", "mtan"):
        (line,) = [line for line in result.out.splitlines() if line.split()[:1] == [name]]
        assert " 20" in line, line
