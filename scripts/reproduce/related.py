r"""Where does joint training beat one network per task, and where does weighting matter?

    python scripts/reproduce/related.py outputs/related > docs/tables/related.csv

It makes a small fair study for every cosine of two tasks and every ratio of their scales (`--only`
begins with some of them; what lies there already is not made again), and prints a row per study.
The picture, `related.png` in the directory, says at every place whether sharing a model is worth it
and whether weights matter.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_runner.results.pictures.style import new_figure, save
from mtl_runner.results.records.dataset import Records
from mtl_runner.results.statistics.paired import Paired
from mtl_runner.results.verdict.conclusions import Conclusions, conclude
from mtl_runner.results.verdict.recommendation import versus_single_task

COSINES = ("0.0", "0.5", "0.8", "1.0")
SCALES = {1: "[1,1]", 10: "[0.3,3]", 100: "[0.1,10]"}  # by their ratio
STUDY = (
    *("-m", "+study=fair", "data=related", "data.labels=one", "weighting=uncertainty,famo"),
    *("trainer.epochs=30", "study.seeds=6", "study.tuning_seeds=2", "study.per_decade=1"),
    *("study.extensions=0", "study.fixed_points=3"),
)
COLUMNS = (
    "largest scale over smallest",
    "cosine",
    "equal weights to single-task, %",
    "best joint strategy",
    "to single-task, %",
    "to equal weights, %",
    "weighting",
)
# Verdicts on a strategy in the order in which they answer for a study.
KINDS = (
    "helps",
    "static weights suffice",
    "better than equal weights",
    "undecided",
    "hurts",
    "no difference",
)
WORDS = {
    "helps": "a method helps",
    "static weights suffice": "weights matter,\nstatic ones suffice",
    "better than equal weights": "weights matter",
    "undecided": "undecided",
    "hurts": "equal weights are best",
    "no difference": "makes no difference",
}


@dataclass(frozen=True)
class Answer:
    """What a study says at one place.

    Attributes:
        ratio: Largest scale of a task over the smallest.
        cosine: Cosine of the tasks' directions.
        equal: Equal weights against single-task training.
        best: The joint strategy that is best on validation.
        alone: It against single-task training.
        gain: It against equal weights; None for equal weights themselves.
        weighting: The verdict on weighting, the most favourable one on any strategy.
    """

    ratio: int
    cosine: float
    equal: Paired
    best: str
    alone: Paired
    gain: Paired | None
    weighting: str


def places() -> list[tuple[int, str]]:
    """Return the places on the two dials, a ratio of scales and a cosine each."""
    return list(itertools.product(SCALES, COSINES))


def options(ratio: int, cosine: str, directory: Path) -> list[str]:
    """Return the options of a study."""
    folder = directory / f"{ratio}_{cosine}"
    place = [f"data.cosine={cosine}", f"data.scales={SCALES[ratio]}", f"hydra.sweep.dir={folder}"]
    return [*STUDY, *place, *(["resume=true"] if folder.exists() else [])]


def answer_of(conclusions: Conclusions, ratio: int, cosine: float) -> Answer:
    """Return what the runs of one study say."""
    (data,) = conclusions.evidence.datasets
    joint = [s for s in data.of_role("equal", "fixed", "strategy") if s.is_reference]
    (equal,) = data.of_role("equal")
    best = min(joint, key=lambda s: s.mean_monitor)
    to_single = {s.name: versus_single_task(data, s) for s in (equal, best)}
    verdicts = {v.strategy: v for v in conclusions.judged(data.name)}
    kinds = {v.kind for v in verdicts.values()}
    of_equal, of_best = to_single[equal.name], to_single[best.name]
    assert of_equal is not None
    assert of_best is not None
    gain = verdicts[best.name].versus_equal if best.name in verdicts else None
    named = {"equal": "equal weights", "fixed": "fixed weights"}
    name = named.get(best.role, best.name)
    weighting = next(kind for kind in KINDS if kind in kinds)
    return Answer(ratio, cosine, of_equal, name, of_best, gain, weighting)


def percent(versus: Paired | None) -> str:
    """Return a difference in percent with its interval; empty without one."""
    if versus is None:
        return ""
    mean, low, high = (100 * value for value in (versus.mean, versus.low, versus.high))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def table(answers: Sequence[Answer]) -> str:
    """Return the table as CSV, a row per place."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for a in answers:
        cells = (percent(a.equal), a.best, percent(a.alone), percent(a.gain))
        writer.writerow([a.ratio, f"{a.cosine:g}", *cells, WORDS[a.weighting].replace("\n", " ")])
    return text.getvalue()


def picture(path: Path, answers: Sequence[Answer], margin: float = 0.02) -> None:
    """Draw a cell per place: its colour is the best joint strategy against single-task training."""
    ratios = sorted({a.ratio for a in answers})
    cosines = sorted({a.cosine for a in answers})
    figure, axes = new_figure(1, 1, 1.9 * len(cosines) + 1, 1.2 * len(ratios) + 0.6)
    axis = axes.flat[0]
    largest = max(abs(a.alone.mean) for a in answers)
    grid = [[math.nan] * len(cosines) for _ in ratios]
    for a in answers:
        row, column = ratios.index(a.ratio), cosines.index(a.cosine)
        grid[row][column] = 100 * a.alone.mean
        if a.alone.high < -margin:
            sharing = "sharing helps"
        elif a.alone.low > margin:
            sharing = "sharing hurts"
        else:
            same = -margin <= a.alone.low90 and a.alone.high90 <= margin
            sharing = "sharing is even" if same else "sharing: undecided"
        text = f"{sharing}: {100 * a.alone.mean:+.1f} %\n{WORDS[a.weighting]}"
        axis.text(column, row, text, ha="center", va="center", fontsize=7)
    limit = 100 * largest or 1.0
    image = axis.imshow(grid, cmap="RdBu_r", vmin=-1.5 * limit, vmax=1.5 * limit, aspect="auto")
    figure.colorbar(image, ax=axis, label="loss of the best joint strategy\nagainst single-task, %")
    axis.set_xticks(range(len(cosines)), [f"{c:g}" for c in cosines])
    axis.set_yticks(range(len(ratios)), [f"1 : {r}" for r in ratios])
    axis.set_xlabel("cosine of the tasks")
    axis.set_ylabel("scales of the tasks")
    axis.grid(visible=False)
    figure.subplots_adjust(left=0.12)
    save(figure, path)


def main(directory: Path, only: int | None) -> None:
    """Make the studies, print the table, and draw the picture into the directory."""
    answers = []
    for ratio, cosine in places()[:only]:
        command = [sys.executable, "-m", "mtl_runner", *options(ratio, cosine, directory)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        records = Records.read([directory / f"{ratio}_{cosine}"])
        answers.append(answer_of(conclude(records), ratio, float(cosine)))
    print("# python scripts/reproduce/related.py outputs/related")
    print(table(answers), end="")
    picture(directory / "related.png", answers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="of the studies")
    parser.add_argument("--only", type=int, help="the first so many of them")
    arguments = parser.parse_args()
    main(arguments.directory, arguments.only)
