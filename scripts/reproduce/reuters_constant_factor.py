"""Does a constant factor on the loss change what is learned?

A known blog experiment: binary cross entropy times 1 and times 0.08.

    python scripts/reproduce/reuters_constant_factor.py --path reuters21578

Under Adam the step is the mean gradient over the root of the mean squared gradient: a factor on the
loss is in both and cancels, but for eps, which stands beside the root and is not scaled. What is
left are differences of the last digits, which training magnifies: compare them with the row of
another seed. Under SGD the factor scales the step, as a learning rate does; divided out of the
learning rate, it is gone. Gradient clipping by a norm and decay added to the gradient (Adam's
``weight_decay``, not AdamW's) are not scaled with the loss either and bring a difference back.

Prints the metrics of the test split after the last epoch; all rows but the one that says so share
the seed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from hydra import compose, initialize_config_dir

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.experiment.build import build
from mtl_runner.train.trainer import Trainer

FACTOR = 0.08
METRICS = ("accuracy", "precision", "recall", "f1", "one_error", "micro_f1")


def run(path: str, epochs: int, seed: int, factor: float, *overrides: str) -> list[float]:
    """Return the metrics of the test split after the last epoch."""
    setup = (
        "experiment=reuters_constant_factor",
        f"data.path={path}",
        f"trainer.epochs={epochs}",
        f"trainer.evaluate_every={epochs}",
        f"seed={seed}",
        f"++weighting.weights.topics={factor}",
        "name=reuters_constant_factor",
        "record.plots=none",
    )
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = compose("config", [*setup, *overrides])
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(build(config), Path(directory))
        trainer.run()
        final, _ = trainer.finish()
    metrics = final["test"].values["topics"]
    return [metrics[name] for name in METRICS]


def main(path: str, epochs: int, adam: float, sgd: float) -> None:
    """Print the table, a row per optimizer and factor."""
    adams, sgds = (f"optimizer.lr={adam}",), ("optimizer=sgd", f"optimizer.lr={sgd}")
    rows = [
        (f"Adam, lr {adam:g}", 1.0, 0, adams),
        (f"Adam, lr {adam:g}", FACTOR, 0, adams),
        (f"Adam, lr {adam:g}, another seed", 1.0, 1, adams),
        (f"SGD, lr {sgd:g}", 1.0, 0, sgds),
        (f"SGD, lr {sgd:g}", FACTOR, 0, sgds),
        (f"SGD, lr {sgd / FACTOR:g}", FACTOR, 0, ("optimizer=sgd", f"optimizer.lr={sgd / FACTOR}")),
    ]
    print(
        "| optimizer | loss times | "
        + " | ".join(name.replace("_", "-") for name in METRICS)
        + " |"
    )
    print("|---|---|" + "---|" * len(METRICS))
    for label, factor, seed, overrides in rows:
        metrics = run(path, epochs, seed, factor, *overrides)
        print(
            f"| {label} | {factor:g} | {' | '.join(f'{value:.3f}' for value in metrics)} |",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--path", required=True, help="folder of Reuters-21578, as data.path of data=reuters"
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--adam", type=float, default=0.002, help="learning rate of Adam")
    parser.add_argument(
        "--sgd", type=float, default=10.0, help="learning rate of SGD (momentum 0.9)"
    )
    arguments = parser.parse_args()
    main(arguments.path, arguments.epochs, arguments.adam, arguments.sgd)
