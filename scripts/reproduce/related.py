r"""Where does joint training beat one network per task? Table and picture of a sweep.

    mtl-run -m data=related data.labels=one data.cosine=-0.5,0.0,0.5,0.8,1.0 \
        'data.scales=[1,1],[0.3,3],[0.1,10]' weighting=fixed,uncertainty,single_task \
        'seed=range(0,3)' trainer.epochs=30 hydra/launcher=stacked hydra.sweep.dir=outputs/related
    python scripts/reproduce/related.py outputs/related

A number is the change of the test RMSE against single-task training with the same seed, mean over
tasks and seeds, in percent: below 0, sharing helps.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mtl_runner.results.pictures.style import colour, new_figure, save
from mtl_runner.results.records.run import Run, find_runs

NAMES = {"fixed": "equal weights", "uncertainty": "uncertainty"}
REFERENCE = "single_task"


@dataclass(frozen=True)
class Place:
    """A place on the two dials.

    Attributes:
        ratio: Largest scale of a task over the smallest.
        cosine: Cosine of the tasks' directions.
    """

    ratio: float
    cosine: float

    @classmethod
    def of(cls, run: Run) -> Place:
        """Return the place of a run."""
        scales = json.loads(run.overrides.get("data.scales", "[1, 1]"))
        return cls(max(scales) / min(scales), float(run.overrides["data.cosine"]))


Errors = Mapping[tuple[Place, str], Mapping[int, Mapping[str, float]]]
Changes = Mapping[tuple[Place, str], list[float]]


def errors_of(runs: Iterable[Run]) -> Errors:
    """Return the test RMSE by place, strategy, seed and task."""
    errors: dict[tuple[Place, str], dict[int, dict[str, float]]] = defaultdict(dict)
    for run in runs:
        if run.finished:
            by_task = json.loads((run.directory / "summary.json").read_text())["tasks"]
            errors[Place.of(run), run.choices["weighting"]][int(run.overrides["seed"])] = {
                name: task["best"]["test"]["rmse"] for name, task in by_task.items()
            }
    return errors


def changes_of(errors: Errors) -> Changes:
    """Return the change against single-task training in percent, one number per seed."""
    return {
        (place, strategy): [
            100
            * statistics.mean(by_task[t] / errors[place, REFERENCE][seed][t] - 1 for t in by_task)
            for seed, by_task in sorted(seeds.items())
        ]
        for (place, strategy), seeds in errors.items()
        if strategy != REFERENCE
    }


def table(changes: Changes) -> str:
    """Return the table as CSV, a row per place."""
    places = sorted({place for place, _ in changes}, key=lambda p: (p.ratio, p.cosine))
    strategies = [name for name in NAMES if any(s == name for _, s in changes)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["largest scale over smallest", "cosine", *(NAMES[s] for s in strategies)])
    for place in places:
        cells = [
            f"{statistics.mean(c):+.1f} ± {statistics.stdev(c) if len(c) > 1 else 0:.1f}"
            for c in (changes[place, s] for s in strategies)
        ]
        writer.writerow([f"{place.ratio:.3g}", f"{place.cosine:g}", *cells])
    return text.getvalue()


def picture(path: Path, changes: Changes) -> None:
    """Draw the change over the cosine, a panel per ratio of the scales."""
    ratios = sorted({place.ratio for place, _ in changes})
    figure, axes = new_figure(1, len(ratios), 2.6, 2.4)
    for axis, ratio in zip(axes.flat, ratios, strict=True):
        axis.axhline(0, color="grey", linewidth=1)
        for index, (strategy, name) in enumerate(NAMES.items()):
            here = sorted(
                (place.cosine, values)
                for (place, s), values in changes.items()
                if s == strategy and place.ratio == ratio
            )
            cosines = [cosine for cosine, _ in here]
            means = [statistics.mean(values) for _, values in here]
            axis.plot(cosines, means, color=colour(index), marker="o", markersize=4, label=name)
            for cosine, values in here:
                axis.plot([cosine] * len(values), values, ".", color=colour(index), alpha=0.4)
        axis.set_title(f"scales 1 : {ratio:.3g}", fontsize=9)
        axis.set_xlabel("cosine of the tasks")
    axes.flat[0].set_ylabel("test RMSE against\nsingle-task, %", fontsize=9)
    axes.flat[0].legend(frameon=False, fontsize=8)
    save(figure, path)


def main(directory: Path) -> None:
    """Print the table of a sweep, and draw its picture into its directory."""
    changes = changes_of(errors_of(find_runs([directory])))
    print(table(changes), end="")
    picture(directory / "related.png", changes)
    print(directory / "related.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="of the sweep")
    main(parser.parse_args().directory)
