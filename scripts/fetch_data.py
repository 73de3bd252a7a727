"""Tell where to get data sets that cannot be part of this project, and check what you got.

    python scripts/fetch_data.py                        # list them
    python scripts/fetch_data.py nyuv2                  # where to get it
    python scripts/fetch_data.py nyuv2 /data/nyuv2      # check a folder

Nothing is downloaded: their licences want you to agree to them yourself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mtl_runner.data import Cityscapes, MultiMNIST, NYUv2, Reuters
from mtl_runner.errors import MtlError


@dataclass(frozen=True)
class Source:
    """A data set that has to be fetched by hand.

    Attributes:
        address: Where to get it.
        layout: The files and folders that belong into its folder.
        read: The class that reads the folder.
    """

    address: str
    layout: str
    read: Callable[..., Any]


MTAN = "https://github.com/lorenmt/mtan (section 'Datasets' of its README links the preprocessed files)"
SOURCES = {
    "nyuv2": Source(
        MTAN,
        "train/ and val/, each with image/ label/ depth/ normal/ of 0.npy, 1.npy, ... (795 and 654)",
        NYUv2,
    ),
    "cityscapes": Source(
        MTAN,
        "train/ and val/, each with image/ label_7/ (label_19/) depth/ of 0.npy, 1.npy, ... (2975 and 500)",
        Cityscapes,
    ),
    "multi_mnist": Source(
        "https://github.com/zalandoresearch/fashion-mnist (Fashion-MNIST) or https://huggingface.co/datasets/ylecun/mnist (MNIST), as IDX files",
        "train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz",
        MultiMNIST,
    ),
    "reuters": Source(
        "https://archive.ics.uci.edu/dataset/137/reuters+21578+text+categorization+collection",
        "the 22 files reut2-000.sgm to reut2-021.sgm",
        Reuters,
    ),
}


def main(arguments: list[str]) -> int:
    """Print where to get a data set, or what a folder holds.

    Returns:
        The exit status: 1 if the folder is not complete.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", nargs="?", choices=SOURCES)
    parser.add_argument("folder", nargs="?")
    options = parser.parse_args(arguments)
    if options.dataset is None:
        for name, source in SOURCES.items():
            print(f"{name}: {source.address}")
        return 0
    source = SOURCES[options.dataset]
    print(f"{options.dataset}: {source.address}\nlayout: {source.layout}")
    if options.folder is None:
        print(f"then: mtl-run data={options.dataset} data.path=<folder>")
        return 0
    try:
        dataset = source.read(path=options.folder)
    except MtlError as error:
        print(error, file=sys.stderr)
        return 1
    for name, split in dataset.splits.items():
        shapes = ", ".join(
            f"{task} {tuple(target.shape[1:])}" for task, target in split.targets.items()
        )
        print(f"{name}: {len(split)} rows of {tuple(split.inputs.shape[1:])}; {shapes}")
    print(f"It is whole: mtl-run data={options.dataset} data.path={options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
