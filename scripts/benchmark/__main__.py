"""Measure the cost of training: a tutorial's loop, a plain PyTorch loop and mtl-runner.

    python scripts/benchmark            # cost per step
    python scripts/benchmark --whole    # whole commands: time and memory, plots included
    python scripts/benchmark --scale    # a table of a million rows
    python scripts/benchmark --problems reuters=DIR  # an epoch of every problem; DIR: its files
    python scripts/benchmark --images   # training on image files, beside Lightning
    python scripts/benchmark --csv docs/tables  # write the table as CSV, too; for all of them
    python scripts/benchmark --stacked  # stacked replicas (--steps-only, --sweeps-only)
    python scripts/benchmark --representation  # MGDA at the parameters and at the representation
    python scripts/benchmark --devices  # two processes beside torch's DistributedDataParallel

mtl-runner records everything. All loops run interleaved in one process with one thread; the numbers
are medians of CPU time. Quote ratios, not times.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from commands import measure_commands, measure_large_table
from devices import measure_devices
from problems import measure_problems
from stacked import measure_stacks
from steps import measure_steps

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--whole", action="store_true")
parser.add_argument("--scale", action="store_true")
parser.add_argument("--images", action="store_true")
parser.add_argument("--stacked", action="store_true")
parser.add_argument("--representation", action="store_true")
parser.add_argument("--devices", action="store_true")
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
parser.add_argument("--csv", type=Path, metavar="FOLDER", help="write the table there, too")
parser.add_argument("--repeats", type=int, default=9)
parser.add_argument("--epochs", type=int, default=40, help="epochs of 5 steps per measurement")
options = parser.parse_args()
if options.whole:
    measure_commands(min(options.repeats, 3), options.csv)
elif options.problems is not None:
    paths = dict(pair.split("=", 1) for pair in options.problems)
    measure_problems(paths, min(options.repeats, 3), options.csv)
elif options.devices:
    measure_devices()
elif options.scale:
    measure_large_table()
elif options.images:
    # Its images need torchvision, which the others do without.
    from images import measure_images

    measure_images(min(options.repeats, 5), options.csv)
elif options.representation:
    # Its backbone needs torchvision or timm, too.
    from representation import measure_representation

    measure_representation(min(options.repeats, 7), options.csv)
elif options.stacked:
    part = "steps" if options.steps_only else "sweeps" if options.sweeps_only else "all"
    measure_stacks(options.repeats, options.epochs, part, options.runs, options.data, options.csv)
else:
    measure_steps(options.repeats, options.epochs, options.csv)
