"""Does a classification's sigma weigh the task? Exact, approximate and frozen, side by side.

    python scripts/reproduce/softmax_sigma.py

The exact likelihood takes the softmax of logits / sigma^2. With a free last layer logits and
sigma^2 rescale together, so that whatever sigma is frozen at, training ends at the same losses (as
far as it converges): it does not weigh the task. Kendall's approximation multiplies the cross
entropy by 1 / sigma^2 instead, an equality only at sigma = 1: there sigma is a weight.

A regression and a classification share a trunk of one unit, so that what one task gets the other
loses. Training losses of the last epoch, means over seeds; the regression's sigma is learned in
every run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from hydra import compose, initialize_config_dir

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.experiment.build import build
from mtl_runner.train.trainer import Trainer

SIGMAS = ("0.3", "0.5", "1.0", "2.0", "3.0")
SETUP = (
    "data=toy_mixed",
    "model.hidden=[1]",
    "model.activation=tanh",
    "optimizer.lr=0.01",
    "data.batch_size=200",
    "name=softmax_sigma",
)


def run(seed: int, epochs: int, *overrides: str) -> tuple[float, float, float]:
    """Return the final training losses of both tasks, and the classification's sigma."""
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = compose("config", [*SETUP, f"seed={seed}", f"trainer.epochs={epochs}", *overrides])
    trainer = Trainer(build(config), Path(tempfile.mkdtemp()))
    trainer.run()
    assert trainer.means is not None
    return trainer.means.loss[0], trainer.means.loss[1], trainer.sigmas()[1] or 1.0


def main(seeds: int, epochs: int) -> None:
    """Print the table, a row per sigma."""
    print(
        "| label's sigma | exact: value loss | exact: label loss | approximate: value loss | approximate: label loss |"
    )
    print("|---|---|---|---|---|")
    for sigma in (*SIGMAS, "learned"):
        cells = []
        ends = []
        for weighting, owner in (("uncertainty_exact", "likelihood"), ("uncertainty", "weighting")):
            frozen = [] if sigma == "learned" else [f"++{owner}.frozen.label={sigma}"]
            runs = [run(seed, epochs, f"weighting={weighting}", *frozen) for seed in range(seeds)]
            cells += [f"{statistics.mean(row[i] for row in runs):.3f}" for i in (0, 1)]
            ends.append(f"{statistics.mean(row[2] for row in runs):.2f}")
        label = f"learned ({' / '.join(ends)})" if sigma == "learned" else f"frozen at {sigma}"
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=300)
    arguments = parser.parse_args()
    main(arguments.seeds, arguments.epochs)
