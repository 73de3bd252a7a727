r"""Do consistency losses make the encoder constant? Table and picture of a sweep.

    mtl-run -m experiment=collapse,collapse_groups schedule=all,staged \
        model.hidden=[64],[64,64,64] 'seed=range(0,3)' hydra.sweep.dir=outputs/collapse \
        weighting.weights='{align: .001, cycle: .001},{align: 1, cycle: 1},{align: 100, cycle: 100}'
    python scripts/reproduce/collapse.py outputs/collapse

A run has collapsed where both reconstructions are no better than the mean image (relative loss
above .95): the latent says nothing. Numbers are medians over the seeds, of the validation split.
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_runner.results.pictures.style import colour, new_figure, save
from mtl_runner.results.records.curves import read_curves
from mtl_runner.results.records.run import Run, find_runs

EARLY = 10  # epochs
NOTHING_LEARNED = 0.95
FLOOR = 1e-8  # where a variance of 0 is drawn


@dataclass(frozen=True)
class Setting:
    """The overrides of a run that the table tells apart.

    Attributes:
        hidden: Widths of the encoder's layers.
        schedule: Option of the group ``schedule``.
        update: Option of the group ``update``.
        weight: Weight of the consistency losses.
    """

    hidden: str
    schedule: str
    update: str
    weight: float

    @classmethod
    def of(cls, run: Run) -> Setting:
        """Return the setting of a run."""
        weight = re.search(r"align:\s*([0-9.e+-]+)", run.overrides.get("weighting.weights", ""))
        return cls(
            run.overrides.get("model.hidden", "[64]"),
            run.choices.get("schedule", "all"),
            run.choices.get("update", "joint"),
            float(weight[1]) if weight else 1.0,
        )


@dataclass(frozen=True)
class Course:
    """The course of one run on the validation split.

    Attributes:
        epochs: The evaluated epochs.
        reconstruction: Mean relative loss of the two reconstructions at each.
        variance: Variance of the latent at each.
    """

    epochs: list[int]
    reconstruction: list[float]
    variance: list[float]

    @classmethod
    def of(cls, run: Run) -> Course:
        """Read the course of a run from its metrics.csv."""
        curves = read_curves(run.directory)
        a, b = (curves.curve("val", f"reconstruct_{font}", "relative_loss") for font in "ab")
        variance = curves.curve("val", "align", "latent_variance")
        return cls(
            list(a),
            [(a[epoch] + b[epoch]) / 2 for epoch in a],
            list(variance.values()),
        )

    @property
    def collapsed(self) -> bool:
        """Whether the reconstructions end no better than the mean image."""
        return self.reconstruction[-1] > NOTHING_LEARNED


Courses = Mapping[Setting, Sequence[Course]]


def table(courses: Courses) -> list[str]:
    """Return the lines of a Markdown table with a row per setting."""
    lines = [
        "| encoder | consistency losses start | optimizers | their weight | reconstruction at 10 | at the end | latent variance at 10 | at the end | collapsed |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for setting, runs in courses.items():
        early = [
            next(i for i, e in enumerate(run.epochs) if e >= min(EARLY, run.epochs[-1]))
            for run in runs
        ]
        reconstruction = [
            [run.reconstruction[i] for run, i in zip(runs, at, strict=True)]
            for at in (early, [-1] * len(runs))
        ]
        variance = [
            [run.variance[i] for run, i in zip(runs, at, strict=True)]
            for at in (early, [-1] * len(runs))
        ]
        cells = [
            setting.hidden,
            "at once" if setting.schedule == "all" else "late",
            "one" if setting.update == "joint" else "one per group",
            f"{setting.weight:g}",
            *(f"{statistics.median(values):.2f}" for values in reconstruction),
            *(f"{statistics.median(values):.2g}" for values in variance),
            f"{sum(run.collapsed for run in runs)} of {len(runs)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def picture(path: Path, courses: Courses) -> None:
    """Draw a column per encoder and schedule: reconstructions above, latent variances below."""
    columns = list(dict.fromkeys((s.hidden, s.schedule) for s in courses))
    weights = sorted({s.weight for s in courses})
    figure, axes = new_figure(2, len(columns), 2.7, 2.1)
    for column, (hidden, schedule) in enumerate(columns):
        above, below = axes[:, column]
        above.set_title(
            f"encoder {hidden}, {'all at once' if schedule == 'all' else 'staged'}", fontsize=9
        )
        for setting, runs in courses.items():
            if (setting.hidden, setting.schedule) != (hidden, schedule):
                continue
            look = {
                "color": colour(weights.index(setting.weight)),
                "linestyle": "-" if setting.update == "joint" else "--",
            }
            label = f"weight {setting.weight:g}, {'one optimizer' if setting.update == 'joint' else 'one per group'}"
            for run in runs:
                above.plot(
                    run.epochs, run.reconstruction, linewidth=1, alpha=0.7, label=label, **look
                )
                below.plot(
                    run.epochs,
                    [max(v, FLOOR) for v in run.variance],
                    linewidth=1,
                    alpha=0.7,
                    **look,
                )
                label = "_"  # once in the legend
        above.set_ylim(0, 1.6)
        below.set_yscale("log")
        below.set_ylim(FLOOR / 2, 10)
        below.set_xlabel("epoch")
    axes[0, 0].set_ylabel("reconstruction (1: mean image)", fontsize=9)
    axes[1, 0].set_ylabel("latent variance", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        frameon=False,
        fontsize=8,
        loc="center",
        bbox_to_anchor=(0.5, 0.5),
        ncols=len(labels),
    )
    save(figure, path)


def main(directory: Path, output: Path | None) -> None:
    """Print the table of a sweep, and draw its picture."""
    courses_of: dict[Setting, list[Course]] = defaultdict(list)
    for run in find_runs([directory]):
        if run.finished:
            courses_of[Setting.of(run)].append(Course.of(run))
    order = sorted(
        courses_of, key=lambda s: (len(s.hidden), s.schedule, s.update != "joint", s.weight)
    )
    courses = {setting: courses_of[setting] for setting in order}
    print("\n".join(table(courses)))
    path = output or directory / "collapse.png"
    picture(path, courses)
    print(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="of the sweep")
    parser.add_argument(
        "--output", type=Path, help="of the picture; default: collapse.png in the directory"
    )
    arguments = parser.parse_args()
    main(arguments.directory, arguments.output)
