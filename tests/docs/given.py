"""Given to the pages: small files instead of real data sets, and a reader's own variables."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from mtl_runner import Task
from tests.docs.blocks import block_with
from tests.support.qm9_files import write_qm9

# For a run of a second or less; the keys of the data sets that are drawn or read in full.
QUICK = ("trainer.epochs=2", "record.plots=none")
FEW_ROWS = {
    "scenes": ("data.n=16", "data.n_val=8", "data.n_test=8", "model.width=4", "model.depth=2"),
    "gradnorm_toy": ("data.n=400", "data.n_val=100", "data.n_test=100"),
    "multi_digits": ("data.rows=200",),
    "qm9": ("data.molecules=40", "data.val=5", "data.test=5"),
    "related": ("data.n=200", "data.n_val=50", "data.n_test=50"),
    "reuters": ("data.tokens=20", "data.min_texts=1"),
    "nyuv2": ("model.width=4", "model.depth=2"),
    "cityscapes": ("model.width=4", "model.depth=2"),
    **dict.fromkeys(
        ("helmholtz", "kovasznay", "burgers_inverse"),
        ("data.n_interior=60", "data.grid_lines=9", "model.hidden=[8]"),
    ),
}
SHORT_STUDY = (
    "study.seeds=2",
    "study.tuning_seeds=1",
    "study.fixed_points=3",
    "study.per_decade=1",
    "study.extensions=0",
    "model.hidden=[8]",
)


def write_tables(folder: Path) -> None:
    """Write the tables that commands of the pages read."""
    rows = [
        (i % 7, i % 5, "Never-married" if i % 3 else "Divorced", ">50K" if i % 2 else "<=50K", i)
        for i in range(80)
    ]
    pd.DataFrame(
        {
            "heating": [row[0] for row in rows],
            "cooling": [row[1] for row in rows],
            "size": [row[4] for row in rows],
        }
    ).to_csv(folder / "houses.csv", index=False)
    columns = ["age", "hours", "marital_status", "income", "fnlwgt"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "adult.csv", index=False)
    with contextlib.chdir(folder):
        exec(compile(block_with("# clicks.py").text, "clicks.py", "exec"), {})


def write_reuters(folder: Path) -> None:
    """Write a few texts about two topics from two places, as JSON lines."""
    folder.mkdir(parents=True)
    for split, count in (("train", 60), ("test", 20)):
        texts = [
            {
                "title": f"News {i}",
                "body": "wheat harvest" if i % 2 else "crude oil",
                "topics": ["grain" if i % 2 else "oil"],
                "places": ["usa" if i % 3 else "uk"],
            }
            for i in range(count)
        ]
        lines = "".join(json.dumps(text) + "\n" for text in texts)
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))


def write_multi_mnist(folder: Path) -> None:
    """Write a few images of noise in MNIST's format."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, count in (("train", 60), ("t10k", 20)):
        images = random.integers(0, 255, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim])
            header += b"".join(size.to_bytes(4, "big") for size in array.shape)
            (folder / f"{split}-{name}-ubyte").write_bytes(header + array.tobytes())


def write_pixels(folder: Path, size: tuple[int, int], label: str, classes: int) -> None:
    """Write a few images with the answers at their pixels, in the layout of MTAN's folders."""
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for i in range(count):
            normals = random.normal(size=(*size, 3))
            arrays = {
                "image": random.random((*size, 3)),
                label: random.integers(0, classes, size),
                "depth": random.uniform(0.5, 9.0, (*size, 1)),
                "normal": normals / np.linalg.norm(normals, axis=-1, keepdims=True),
            }
            for name, array in arrays.items():
                (folder / split / name).mkdir(parents=True, exist_ok=True)
                np.save(folder / split / name / f"{i}.npy", array)


MAKERS: dict[str, Callable[[Path], object]] = {
    "reuters": write_reuters,
    "multi_mnist": write_multi_mnist,
    "nyuv2": lambda folder: write_pixels(folder, (288, 384), "label", 13),
    "cityscapes": lambda folder: write_pixels(folder, (128, 256), "label_7", 7),
    "qm9": write_qm9,
}
OF_A_PACKAGE = ("qm9",)  # without a path its files are those of an extra


def quick(command: Sequence[str], folder: Path) -> list[str]:
    """Return a command so that it takes a second: fewer epochs and rows, and small files.

    Args:
        command: The words of the command.
        folder: Where it will run.
    """
    name, *options = command
    if name != "mtl-run" or any(option.startswith("--") for option in options):
        return [name, *options]
    data = next((o.partition("=")[2] for o in options if o.startswith("data=")), "")
    if any("reuters" in option for option in options if option.startswith("experiment=")):
        data = "reuters"
    replaced = []
    for option in options:
        key, _, value = option.partition("=")
        if key == "data.path" and not (folder / value).exists():
            target = folder / "given" / data
            if not target.exists():
                MAKERS[data](target)
            option = f"data.path={target}"
        if key == "seed" and value.startswith("range("):
            option = "seed=range(0,1)"
        replaced.append(option)
    if data in OF_A_PACKAGE:
        MAKERS[data](folder / "given" / data)
        replaced.append(f"data.path={folder / 'given' / data}")
    changes = [
        *FEW_ROWS.get(data, ()),
        *(QUICK if not any(re.match("resume=(?!true)", option) for option in options) else ()),
        *(SHORT_STUDY if any(option.startswith("+study=") for option in options) else ()),
    ]
    return [name, *replaced, *changes]


def names() -> dict[str, Any]:
    """Return new variables for the Python of a page: a model, its losses, a table, ..."""
    tasks = [Task("depth", size=1), Task("label", "classification", size=3)]
    trunk, heads = nn.Linear(2, 4), nn.ModuleList([nn.Linear(4, 1), nn.Linear(4, 3)])
    model = nn.ModuleList([trunk, heads])
    targets = {"depth": torch.randn(8, 1), "label": torch.randint(3, (8,))}

    def task_losses(model: Any, batch: torch.Tensor) -> list[torch.Tensor]:
        features = model[0](batch)
        errors = (model[1][0](features) - targets["depth"]).square().mean()
        return [errors, nn.functional.cross_entropy(model[1][1](features), targets["label"])]

    inputs = torch.randn(8, 2)
    features = trunk(inputs)
    losses = task_losses(model, inputs)
    return {
        "torch": torch,
        "nn": nn,
        "Module": nn.Module,
        "tasks": tasks,
        "model": model,
        "inputs": inputs,
        "targets": targets,
        "depth": heads[0](features),
        "logits": heads[1](features),
        "depth_target": targets["depth"],
        "label_target": targets["label"],
        "losses": losses,
        "depth_loss": losses[0],
        "label_loss": losses[1],
        "task_losses": task_losses,
        "table": pd.DataFrame({"size": [1.0, 2.0]}),
    }
