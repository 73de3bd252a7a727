"""What a training step costs: the tutorial loop, a plain PyTorch loop, and mtl-runner with everything recorded.

    python scripts/benchmark            # cost per step
    python scripts/benchmark --whole    # a whole run: start-up, training, evaluation, checkpoints, plots; start-up; memory
    python scripts/benchmark --scale    # a table of a million rows
    python scripts/benchmark --problems reuters=DIR  # seconds per epoch of every problem, where the files of some are, you say
    python scripts/benchmark --stacked  # stacked replicas: cost per step and replica, whole sweeps (--steps-only, --sweeps-only)

All contenders run interleaved in one process with one thread; the numbers are medians of CPU time. Quote ratios, not times.
"""

from __future__ import annotations

import argparse

from problems import problems
from runs import scale, steps, whole
from stacked import stacked_tables

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--whole", action="store_true")
parser.add_argument("--scale", action="store_true")
parser.add_argument("--stacked", action="store_true")
parser.add_argument("--problems", nargs="*", metavar="DATA=PATH")
parser.add_argument("--steps-only", action="store_true", help="of --stacked only the steps")
parser.add_argument("--sweeps-only", action="store_true", help="of --stacked only the whole sweeps")
parser.add_argument(
    "--runs", type=int, nargs="+", default=[8, 32, 128], help="runs in a sweep of --stacked"
)
parser.add_argument(
    "--data",
    nargs="+",
    default=["toy_regression", "digits"],
    help="data of the sweeps of --stacked",
)
parser.add_argument("--repeats", type=int, default=9)
parser.add_argument("--epochs", type=int, default=40, help="epochs of 5 steps per measurement")
options = parser.parse_args()
if options.whole:
    whole(min(options.repeats, 3))
elif options.problems is not None:
    problems(dict(pair.split("=", 1) for pair in options.problems), min(options.repeats, 3))
elif options.scale:
    scale()
elif options.stacked:
    part = "steps" if options.steps_only else "sweeps" if options.sweeps_only else "all"
    stacked_tables(options.repeats, options.epochs, part, options.runs, options.data)
else:
    steps(options.repeats, options.epochs)
