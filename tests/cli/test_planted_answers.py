"""Problems whose verdict is known: mtl-run -m +study=fair, really run, has to find it.

The classes of :mod:`tests.support.planted` are a user's own, in files of the user's folder. Their
problems are linear, so that the right answer has a closed form, and the planted effects are several
times what chance moves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.test_study import Study
from tests.support import planted
from tests.support.commands import Command
from tests.support.run_files import read_summary

CONFIGS = {
    "model/halves": "_target_: planted.Halves",
    "model/linear": "_target_: planted.LinearTrunk\nwidth: 1",
    "weighting/robust": "_target_: planted.Robust\nscale: 0.3\nseed: ${seed}\nunstable: 0\nof: 8",
    "data/spoiled": """# @package _global_
defaults:
  - related
  - _self_
data:
  _target_: planted.Spoiled
  sines: 0
  cosine: 0
  share: 0.04
  size: 5.0
""",
}
LINEAR = ("data.sines=0", "data.n_val=500", "data.n_test=1000")
STUDY = (
    *("study.seeds=6", "study.tuning_seeds=2", "study.per_decade=1", "study.extensions=0"),
    *("study.fixed_points=3", "study.knobs={}", "hydra.sweep.dir=sweep"),
    *("trainer.threads=1", "trainer.evaluate_every=20%"),
    *("record.plots=none", "record.checkpoints=none"),
)


@dataclass(frozen=True)
class Answer:
    """What a study says on the terminal and in its files."""

    verdicts: pd.DataFrame
    text: str
    sharing: str

    @property
    def headline(self) -> str:
        """The line under "Verdict"."""
        return self.text.splitlines()[0]

    def on(self, strategy: str) -> pd.Series:
        """Return the row of a strategy in verdicts.csv."""
        return self.verdicts.loc[strategy]

    @property
    def best_fixed(self) -> pd.Series:
        """The row of the best fixed weights."""
        (row,) = (row for name, row in self.verdicts.iterrows() if str(name).startswith("fixed "))
        return row


def answer_of(mtl: Command, folder: Path, *options: str) -> Answer:
    """Run a study in a user's folder, and read what it says."""
    (folder / "planted.py").write_text(Path(planted.__file__).read_text())
    for name, content in CONFIGS.items():
        path = folder / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    result = mtl("mtl-run", "-m", "+study=fair", *STUDY, *options)
    assert "Traceback" not in result.err
    verdicts = pd.read_csv(folder / "sweep" / "verdicts.csv").set_index("strategy")
    page = unescape((folder / "sweep" / "report.html").read_text()).replace("\xa0", " ")
    sharing = re.search(r"<dd>(Sharing a model [^<]*|Whether sharing [^<]*)<", page)
    assert sharing is not None
    return Answer(verdicts, result.out[result.out.index("\nVerdict (test") + 1 :], sharing[1])


def verdict_of(folder: Path, strategy: str) -> pd.Series:
    """Return the row of a strategy in verdicts.csv."""
    return pd.read_csv(folder / "verdicts.csv").set_index("strategy").loc[strategy]


# Nothing shared between tasks


@pytest.mark.long
def test_tasks_that_share_nothing_leave_nothing_to_weigh(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a study finds a difference between strategies that train the same two models.

    Each task has a linear model of its own inputs, and Adam is not moved by a constant factor.
    """
    answer = answer_of(
        *(
            mtl,
            tmp_path,
            "model=halves",
            "data=related",
            "data.cosine=0",
            "data.noise=0.5",
            *LINEAR,
        ),
        *("data.dim=20", "data.n=400", "data.batch_size=100", "trainer.epochs=25"),
        *("optimizer.lr=0.05", "weighting=uncertainty,per_task_adam"),
    )
    assert {*answer.verdicts["verdict"]} == {"no difference"}
    # With nothing shared, one Adam per task is one Adam.
    by_hand = answer.on("per_task_adam")
    assert [by_hand[f"versus_equal.{end}"] for end in ("low", "high")] == pytest.approx(
        [0, 0], abs=1e-6
    )
    assert "Weighting makes no difference on related" in answer.headline
    assert answer.sharing.startswith("Sharing a model costs nothing:")


# One loss times 1000


@pytest.mark.long
def test_static_weights_suffice_where_one_loss_is_a_thousand_times_the_other(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a study overlooks that equal weights leave the smaller loss out.

    A trunk of rank 1 serves two tasks of cosine 1/2 and noise variance 1/2. Equal weights fit the
    larger one: mean relative loss (1/2 + 5/4) / 2 of 3/2. Relative to their scales both lose a
    quarter, which is 3/4 of 3/2, and no weights can do better.
    """
    answer = answer_of(
        *(mtl, tmp_path, "model=linear", "data=related", "data.cosine=0.5", *LINEAR),
        *("data.noise=0.7071", "data.scales=[1,31.6]", "data.dim=20", "data.n=1000"),
        *("data.batch_size=250", "trainer.epochs=50", "optimizer.lr=0.05", "weighting=uncertainty"),
    )
    expected = 0.75 / 0.875 - 1
    assert answer.best_fixed["verdict"] == "better than equal weights"
    assert "1/trivial" in str(answer.best_fixed.name)
    assert answer.best_fixed["versus_equal.mean"] == pytest.approx(expected, abs=0.04)
    assert answer.on("uncertainty")["verdict"] == "static weights suffice"
    assert "Weights matter on related, but static ones suffice" in answer.headline


PLANTED = (
    "data=gradnorm_toy",
    "data.sigmas=[1,31.6]",
    "data.n=400",
    "data.n_val=200",
    "trainer.epochs=60",
    "trainer.threads=1",
)


def best_fixed(mtl: Command, tmp_path: Path, *options: str) -> tuple[Study, pd.Series]:
    """Return a study where one loss is a thousand times the other, and its best fixed weights."""
    plan = (
        "record.plots=none",
        "study.seeds=6",
        "study.fixed_points=3",
        "weighting=fixed,uncertainty",
        "hydra.sweep.dir=sweep",
    )
    result = mtl("mtl-run", "-m", "+study=fair", *PLANTED, *options, *plan)
    assert result.code == 0, result.err
    name = str(verdict_of(tmp_path / "sweep", "uncertainty")["fixed"])
    assert "1/trivial" in name, "the weights that make the trivial predictor's losses equal"
    return Study(tmp_path / "sweep", result), verdict_of(tmp_path / "sweep", name)


@pytest.mark.long
def test_equal_weights_lose_where_one_loss_is_a_thousand_times_the_other(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a study overlooks that one task alone shapes, and overfits, a deep trunk."""
    sizes = ("data.dim=60", "data.outputs=30", "data.n_test=500", "model.hidden=[64,64,64,64]")
    study, verdict = best_fixed(mtl, tmp_path, *sizes)
    assert verdict["versus_equal.high"] < -study.recorded["margin"]
    assert verdict["verdict"] == "better than equal weights"
    method = verdict_of(study.folder, "uncertainty")["verdict"]
    assert method in {"static weights suffice", "better than equal weights"}


@pytest.mark.long
def test_the_verdict_agrees_with_the_monitor_on_a_trade_off(mtl: Command, tmp_path: Path) -> None:
    """Breaks if weights that are better by the monitor, on every seed, are said to hurt."""
    sizes = ("data.dim=20", "data.outputs=10", "data.n_test=200", "model.hidden=[32,32]")
    study, verdict = best_fixed(mtl, tmp_path, *sizes)
    finals = {
        role: study.jobs_with(strategy=name, final=True)
        for role, name in (("equal", "equal"), ("fixed", verdict.name))
    }
    monitors = {
        role: [read_summary(study.folder / run)["monitor"]["final"] for run in runs]
        for role, runs in finals.items()
    }
    assert all(
        fixed < equal for fixed, equal in zip(monitors["fixed"], monitors["equal"], strict=True)
    )
    assert verdict["versus_equal.high"] < -study.recorded["margin"]


# A method that is better by more than a tenth, and one that is unstable beside


SPOILED = (
    *("data=spoiled", *LINEAR, "data.noise=0.5", "data.dim=40", "data.n=800"),
    *("data.batch_size=8", "trainer.epochs=6", "model=linear", "model.width=4"),
    *("optimizer.lr=0.01", "weighting=robust", "study.seeds=8"),
)


@pytest.mark.long
def test_a_method_that_is_better_helps(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a study does not see an advantage that no constant weights can have.

    Some rows have targets that are far off. Whatever the constant, they add 4 % of 25 to the
    noise's variance of 1/4 that a model of n / dim = 20 rows per number learns by heart: the loss is
    higher by about (1/4 + 1) / 20 instead of (1/4) / 20 on 1/4, some 19 %. Weights that ignore large
    losses leave the spoiled batches out.
    """
    answer = answer_of(mtl, tmp_path, *SPOILED)
    robust = answer.on("robust")
    assert robust["verdict"] == "helps"
    assert -0.3 < robust["versus_equal.mean"] < -0.08
    assert robust["versus_twin.high"] < -0.02
    assert "Weighting matters on spoiled: robust beats" in answer.headline
    assert "\n  Use robust. " in answer.text


@pytest.mark.long
def test_a_better_method_that_diverges_on_half_of_the_seeds_is_not_recommended(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if the runs that survive are judged, and their failures do not count.

    It is the method that helps on every seed on which it is stable.
    """
    answer = answer_of(mtl, tmp_path, *SPOILED, "weighting.unstable=4")
    robust = answer.on("robust")
    assert (robust["runs"], robust["failed"]) == (4, 4)
    assert robust["verdict"] in {"undecided", "hurts"}
    assert robust["versus_equal.mean"] < -0.08
    assert "4 of 8 runs failed" in robust["sentence"]
    assert "not sure enough" not in robust["sentence"], "it is the failures"
    assert "it is ahead, but failed in 4 of 8 runs" in answer.text
    assert "Use robust" not in answer.text


@pytest.mark.long
def test_a_method_that_diverges_on_most_seeds_hurts(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a method that hardly ever comes to its end is called undecided."""
    answer = answer_of(mtl, tmp_path, *SPOILED, "weighting.unstable=7")
    robust = answer.on("robust")
    assert (robust["runs"], robust["failed"]) == (1, 7)
    assert robust["verdict"] == "hurts"
    assert robust["sentence"].startswith("robust hurts: 7 of 8 runs failed; ")
    assert "Use robust" not in answer.text


# Related and unrelated pairs


@pytest.mark.long
def test_sharing_helps_where_the_tasks_are_the_same(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a study does not see that a task can learn from the other one's rows.

    Every row has the label of one of two tasks, which are the same but for their noise: 75 rows for
    60 numbers alone, 150 together.
    """
    answer = answer_of(
        *(mtl, tmp_path, "model=linear", "model.width=4", "data=related", "data.cosine=1", *LINEAR),
        *("data.labels=one", "data.noise=0.5", "data.dim=60", "data.n=150", "data.batch_size=150"),
        *("trainer.epochs=200", "optimizer.lr=0.03", "weighting=dwa"),
    )
    assert answer.sharing.startswith("Sharing a model is worth it:")
    assert "single-task training" not in answer.headline


@pytest.mark.long
def test_sharing_hurts_where_unrelated_tasks_do_not_fit_into_the_model(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a study does not see that one number cannot answer two unrelated questions.

    Alone, a trunk of rank 1 fits each of the two linear tasks; together, only one of them.
    """
    answer = answer_of(
        *(
            mtl,
            tmp_path,
            "model=linear",
            "data=related",
            "data.cosine=0",
            "data.noise=0.3",
            *LINEAR,
        ),
        *("data.dim=20", "data.n=400", "data.batch_size=100", "trainer.epochs=50"),
        *("optimizer.lr=0.05", "weighting=dwa"),
    )
    assert "Joint training is worse than single-task training." in answer.headline
    assert answer.sharing.startswith("Sharing a model hurts here:")
    assert "\n  Train each task by itself (single_task" in answer.text
