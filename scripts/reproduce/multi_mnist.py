"""Equal weights, uncertainty and single tasks on MultiMNIST, by the published protocol.

    python scripts/reproduce/multi_mnist.py --path data/mnist             # hours on a CPU
    python scripts/reproduce/multi_mnist.py --path data/fashion --short   # five epochs: minutes
    python scripts/reproduce/multi_mnist.py --path data/fashion --second-path data/mnist

The protocol is that of Lin et al. (NeurIPS 2019, *Pareto Multi-Task Learning*) as their code has it
(github.com/Xi-L/ParetoMTL, multiMNIST/train.py and model_lenet.py): LeNet with kernels of 9x9 and
5x5 on 36x36 pixels, batches of 256, 100 epochs, SGD of learning rate 1e-3 and momentum 0.9, halved
after 15, 30, 45, 60, 75 and 90 epochs. It departs from them where the data do (see
`mtl_runner.data.MultiMNIST`): 60 000 pairs, as in Sener & Koltun (NeurIPS 2018), made of 55 000 of
the training images, since 5000 are held back for validation; theirs are 120 000 pairs in a file of
their own.

`--short` takes what `data=multi_mnist` takes by itself: a pair per training image, kernels of 5x5,
Adam 1e-3 with a cosine, and 5 epochs.

The table has the accuracies on the test images after the last epoch, in percent, mean and standard
deviation over the seeds; the runs themselves, with `comparison.csv` and all the pictures, stay in
`--output`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

STRATEGIES = {"fixed": "equal weights", "uncertainty": "uncertainty", "single_task": "single task"}
PUBLISHED = (
    "data.rows=60000",
    "data.val=0.08334",  # 5000 of 60 000 images
    "model.kernels=[9,5]",
    "data.batch_size=256",
    "optimizer=sgd",
    "optimizer.lr=0.001",
    "optimizer.momentum=0.9",
    "trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.MultiStepLR, milestones: [15, 30, 45, 60, 75, 90], gamma: 0.5}",
)
EPOCHS = {"published": 100, "short": 5}


def command(arguments: argparse.Namespace) -> list[str]:
    """Return the `mtl-run` that trains every strategy with every seed."""
    protocol = "short" if arguments.short else "published"
    options = ["-m", "data=multi_mnist", f"data.path={arguments.path.absolute()}"]
    if arguments.second_path is not None:
        options.append(f"data.second_path={arguments.second_path.absolute()}")
    options += [f"weighting={','.join(STRATEGIES)}", f"seed=range(0,{arguments.seeds})"]
    options.append(f"trainer.epochs={arguments.epochs or EPOCHS[protocol]}")
    options += [] if arguments.short else PUBLISHED
    return [
        str(Path(sys.executable).with_name("mtl-run")),
        *options,
        f"hydra.sweep.dir={arguments.output}",
    ]


def table(runs: pd.DataFrame) -> str:
    """Return a Markdown table: test accuracy in percent per strategy, left, right and mean."""
    finished = runs[runs["status"] == "finished"]
    percent = pd.DataFrame(
        {corner: 100 * finished[f"final.test.{corner}.accuracy"] for corner in ("left", "right")}
    )
    percent["mean"] = percent.mean(axis=1)
    percent["strategy"], percent["seconds"] = finished["strategy"], finished["seconds"]
    lines = [
        "| strategy | runs | left | right | mean | to equal weights | seconds per run |",
        "|---|---|---|---|---|---|---|",
    ]
    reference = percent.loc[percent["strategy"] == "fixed", "mean"].mean()
    for name, label in STRATEGIES.items():
        rows = percent[percent["strategy"] == name]
        if rows.empty:
            lines.append(f"| {label} | 0 | | | | | |")
            continue
        cells = [_cell(rows[column]) for column in ("left", "right", "mean")]
        lines.append(
            f"| {label} | {len(rows)} | {' | '.join(cells)} | {rows['mean'].mean() - reference:+.1f} | {rows['seconds'].mean():.0f} |"
        )
    return "\n".join(lines)


def _cell(values: pd.Series) -> str:
    mean = f"{values.mean():.1f}"
    return f"{mean} ± {values.std():.1f}" if len(values) > 1 else mean


def main(arguments: argparse.Namespace) -> int:
    """Run the sweep and print its table; return the exit status of the sweep."""
    ended = subprocess.run(command(arguments), check=False)
    runs = arguments.output / "runs.csv"
    if ended.returncode == 0 or runs.exists():
        print(f"\n{table(pd.read_csv(runs))}")
    return ended.returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", type=Path, required=True, help="folder with the four IDX files")
    parser.add_argument("--second-path", type=Path, help="another one for the lower right corner")
    parser.add_argument("--epochs", type=int, help="100, or 5 with --short")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--short", action="store_true", help="five epochs with the defaults of data=multi_mnist"
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/multi_mnist"))
    sys.exit(main(parser.parse_args()))
