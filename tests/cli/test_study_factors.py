"""mtl-run -m +study=fair with regularisation, optimizers and widths, as a user types it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.support.commands import Command
from tests.support.run_files import assert_one_sentence, run_folders

STUDY = (
    *("mtl-run", "-m", "+study=fair", "data=toy_mixed", "data.n=60", "data.n_val=40"),
    *("data.n_test=40", "model=mlp", "model.hidden=[8]", "trainer.epochs=2", "trainer.clip=1.0"),
    *("study.seeds=3", "study.tuning_seeds=1", "study.fixed_points=3", "study.per_decade=1"),
    *("study.extensions=0", "weighting=dwa", "record.plots=none", "hydra.sweep.dir=sweep"),
)
REGULARISED = "study.regularisation={optimizer.weight_decay: [0, 0.01]}"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("study.optimizers=[adam,sdg]",),
            "study.optimizers names the unknown optimizer 'sdg'; did you mean 'sgd'?",
        ),
        (
            ("study.optimizers=[adam,sgd]", "optimizer.lr=0.1"),
            "study.optimizers gives every optimizer the learning rate of its own file as the middle",
        ),
        (
            ("study.widths={model.width: [4, 8]}",),
            "study.widths names model.width, which mtl_runner.models.MLP does not have.",
        ),
        (
            ("study.widths=[4,8]", "model.hidden=[8],[4]"),
            "study.widths tries values of model.hidden itself; give one value, or leave out study",
        ),
        (
            ("study.regularisation={optimizer.weight_dacay: [0.1]}",),
            "study.regularisation names optimizer.weight_dacay, which torch.optim.Adam does not",
        ),
    ],
)
def test_factors_that_cannot_be_are_refused_before_any_run(
    mtl: Command, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    """Breaks if a user has to add a plus, or learns of a typing error after an hour."""
    result = mtl(*STUDY, *options)
    assert_one_sentence(result)
    assert result.last_line.startswith(sentence)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.long
def test_a_study_takes_up_an_optimizer_and_regularisation_where_it_is(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if runs are made again, optimizers are pooled, or the answer leaves them out."""
    plain = mtl(*STUDY)
    assert plain.code == 0, plain.err
    runs = len(run_folders(tmp_path / "sweep"))
    grown = mtl(*STUDY, "study.optimizers=[adam,sgd]", REGULARISED, "resume=true")
    assert grown.code == 0, grown.err
    assert "study: all that 2 times, each tuned and judged by itself: optimizer=adam; " in grown.out
    study = json.loads((tmp_path / "sweep" / "study.json").read_text())
    jobs = pd.DataFrame(study["jobs"].values())
    jobs["optimizer"] = [factors["optimizer"] for factors in jobs["factors"]]
    tuned = jobs[~jobs["final"] & (jobs["of"] == "")]
    counts = tuned.groupby(["optimizer", "strategy"]).size()
    assert (len(counts), set(counts)) == (2 * 6, {3 + 2 + 2}), "three rates, two more, two values"
    adam = jobs[(jobs["optimizer"] == "adam") & (jobs["phase"] == 1)]
    sgd = jobs[(jobs["optimizer"] == "sgd") & (jobs["phase"] == 1)]
    assert sorted(set(adam["lr"])) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert sorted(set(sgd["lr"])) == pytest.approx([1e-3, 1e-2, 1e-1])
    reused = sum(int(name.split("_", 1)[0]) < runs for name in study["jobs"])
    assert reused >= 6 * 5, "all trials of the plain study"
    for optimizer in ("adam", "sgd"):
        assert f"\ntoy_mixed, optimizer={optimizer} (test, " in grown.out
        assert "Regularisation (optimizer.weight_decay) was chosen by " in " ".join(
            study["group_notes"][f"optimizer={optimizer}"]
        )
    assert "\nAcross the factors of the study:\n" in grown.out
    assert re.search(r"verdict (depends|does not depend) on the optimizer", grown.out)
    factors = pd.read_csv(tmp_path / "sweep" / "factors.csv")
    assert factors["strategy"].tolist() == ["dwa"]
    again = mtl(*STUDY, "study.optimizers=[adam,sgd]", REGULARISED, "resume=true")
    assert "0 to do" in again.out
    assert json.loads((tmp_path / "sweep" / "study.json").read_text()) == study
