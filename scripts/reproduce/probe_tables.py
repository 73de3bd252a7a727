"""The tables that the studies of the probe read: scikit-learn's, made ones, and downloaded ones."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 3000  # of a table, at most
WORDS = 200  # columns of the texts
# Columns that are tasks of some problem, of tables with several.
LABELS = {
    "adult": ("income", "never_married", "education_num", "hours_per_week"),
    "friedman": ("f1", "f2", "f3"),
    "china": ("red", "green", "blue", "edge"),
    "fashion_pairs": ("left", "right", "right_brightness"),
    "reuters": (
        *("earn", "acq", "crude", "grain", "interest", "trade"),
        *("usa", "canada", "uk", "length"),
    ),
}
# Standard deviations that are given to columns, around 0: with data.scale_targets=false the losses of
# the tasks differ as much as their squares. As they come, with means of a hundred, a short run would
# hardly do more than find the means.
SCALES = {
    "breast_cancer": {"mean_smoothness": 0.1},
    "china": {"red": 10.0, "green": 3.0, "blue": 1.0, "edge": 0.1},
    "diabetes": {"progress": 10.0, "bmi": 0.1},
    "fashion_one": {"brightness": 10.0},
    "friedman": {"f1": 10.0, "f2": 1.0, "f3": 0.1},
    "jura": {"Cd": 0.3, "Co": 1.0, "Cu": 10.0},
    "reuters": {"length": 10.0},
}


def write_tables(folder: Path, data: Path) -> None:
    """Write the tables that are not there yet.

    Args:
        folder: The folder for them.
        data: A folder with ``adult/adult.csv``, ``multi_target/*.csv``, ``tox21/tox21.csv.gz``,
            ``reuters/train.jsonl.gz`` and Fashion-MNIST's four IDX files in
            ``fashion_mnist_20k``. Whatever it lacks is skipped, and so are its problems.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in _MAKERS.items():
        path = folder / f"{name}.csv"
        if not path.exists():
            try:
                table = make(data)
            except FileNotFoundError:
                continue
            for column, scale in SCALES.get(name, {}).items():
                values = table[column].astype(float)
                table[column] = scale * (values - values.mean()) / values.std()
            table.to_csv(path, index=False)


def _bundled(name: str, data: Path) -> pd.DataFrame:
    """Return a table that comes with scikit-learn."""
    del data
    from sklearn import datasets

    target = {
        "diabetes": "progress",
        "wine": "cultivar",
        "breast_cancer": "benign",
        "iris": "species",
    }
    table: pd.DataFrame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    table = table.rename(columns={"target": target[name]})
    table.columns = [re.sub(r"\W+", "_", c.replace("(cm)", "").strip()) for c in table.columns]
    return table


def _friedman(data: Path) -> pd.DataFrame:
    """Return Friedman's three functions of the same inputs, each with noise."""
    del data
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(800, 10))
    a, b, c, d = (x[:, i] for i in range(4))
    f1 = 10 * np.sin(np.pi * a * b) + 20 * (c - 0.5) ** 2 + 10 * d + 5 * x[:, 4]
    inner = 1 + 10 * b * c
    f2 = 100 * np.sqrt(a**2 + inner**2)
    f3 = np.arctan((inner - 1 / (1 + d)) / (a + 0.1))
    table = pd.DataFrame(x, columns=[f"x{i}" for i in range(10)])
    for name, f in (("f1", f1), ("f2", f2), ("f3", f3)):
        table[name] = f + 0.3 * f.std() * rng.normal(size=len(f))
    return table


def _multi_target(name: str, data: Path) -> pd.DataFrame:
    table = pd.read_csv(data / "multi_target" / f"{name}.csv")
    if name == "enb":
        table = table.rename(columns={"Y1": "heating", "Y2": "cooling"})
    if name == "wq":
        columns = list(table.columns)
        table.columns = [*columns[:16], *(f"species{i}" for i in range(1, 15))]
        table = table.drop(columns=[f"species{i}" for i in range(1, 15) if i not in (1, 5, 9, 14)])
    return table


def _adult(data: Path) -> pd.DataFrame:
    table = pd.read_csv(data / "adult" / "adult.csv").sample(ROWS, random_state=0)
    table["never_married"] = (table.pop("marital_status") == "Never-married").astype(int)
    return table.drop(columns=["fnlwgt", "education", "relationship", "native_country"])


def _tox21(data: Path) -> pd.DataFrame:
    """Return how often each sign occurs in a molecule's formula, and three tasks."""
    table = pd.read_csv(data / "tox21" / "tox21.csv.gz").sample(ROWS, random_state=0)
    signs = Counter("".join(table["smiles"])).most_common(40)
    counts = {f"sign{i}": table["smiles"].str.count(re.escape(s)) for i, (s, _) in enumerate(signs)}
    tasks = {t.replace("-", "_"): table[t].astype("Int64") for t in ("NR-AhR", "SR-ARE", "SR-MMP")}
    return pd.DataFrame({**counts, **tasks})


def _reuters(data: Path) -> pd.DataFrame:
    """Return which of the most frequent words a text has, some topics and places, and its length."""
    with gzip.open(data / "reuters" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line) for line in itertools.islice(file, 2000)]
    words = [re.findall(r"[a-z]{2,}", f"{t['title']} {t['body']}".lower()) for t in texts]
    frequent = [w for w, _ in Counter(w for text in words for w in set(text)).most_common(WORDS)]
    has = [[int(w in text) for w in frequent] for text in map(set, words)]
    table = pd.DataFrame(has, columns=[f"word_{w}" for w in frequent])
    for topic in ("earn", "acq", "crude", "grain", "interest", "trade"):
        table[topic] = [int(topic in text["topics"]) for text in texts]
    for place in ("usa", "canada", "uk"):
        table[place] = [int(place in text["places"]) for text in texts]
    table["length"] = [len(text) for text in words]
    return table


def _fashion(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images of 7 x 7 numbers from 0 to 1, and their classes."""
    from mtl_runner.data.images.idx import read_idx_folder

    path = data / "fashion_mnist_20k"
    if not path.exists():
        raise FileNotFoundError(path)
    train = read_idx_folder(str(path))["train"]
    images = np.asarray(train.images[: 2 * ROWS], float).reshape(-1, 7, 4, 7, 4).mean((2, 4)) / 255
    return images, np.asarray(train.labels[: 2 * ROWS])


def _fashion_pairs(data: Path) -> pd.DataFrame:
    """Return two images, one over the other with a shift of two pixels, and what they show."""
    images, labels = _fashion(data)
    half = 2000
    canvas = np.zeros((half, 9, 9))
    canvas[:, :7, :7] = images[:half]
    canvas[:, 2:, 2:] = np.maximum(canvas[:, 2:, 2:], images[half : 2 * half])
    table = pd.DataFrame(canvas.reshape(half, -1), columns=[f"pixel{i}" for i in range(81)])
    table["left"], table["right"] = labels[:half], labels[half : 2 * half]
    table["right_brightness"] = images[half : 2 * half].mean((1, 2))
    return table


def _fashion_one(data: Path) -> pd.DataFrame:
    """Return one image without its right third, its class, and how bright that third was."""
    images, labels = _fashion(data)
    left = images[:2000, :, :5].reshape(2000, -1)
    table = pd.DataFrame(left, columns=[f"pixel{i}" for i in range(left.shape[1])])
    table["kind"] = labels[:2000]
    table["brightness"] = 255 * images[:2000, :, 5:].mean((1, 2))
    return table


def _china(data: Path) -> pd.DataFrame:
    """Return grey surroundings of places in scikit-learn's photograph, and the colours there."""
    del data
    from sklearn.datasets import load_sample_image

    image = load_sample_image("china.jpg").astype(float)
    grey = image.mean(2)
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(5, 420, 2000), rng.integers(5, 630, 2000)
    around = [
        grey[r - 3 : r + 4, c - 3 : c + 4].ravel() for r, c in zip(rows, columns, strict=True)
    ]
    table = pd.DataFrame(np.array(around) / 255, columns=[f"pixel{i}" for i in range(49)])
    table["row"] = rows / 427
    for i, colour in enumerate(("red", "green", "blue")):
        table[colour] = image[rows, columns, i]
    table["edge"] = np.abs(image[rows, columns, 0] - image[rows, columns + 4, 0]) / 255
    return table


_MAKERS = {
    **{name: partial(_bundled, name) for name in ("diabetes", "wine", "breast_cancer", "iris")},
    "friedman": _friedman,
    "china": _china,
    "adult": _adult,
    "tox21": _tox21,
    "reuters": _reuters,
    "fashion_pairs": _fashion_pairs,
    "fashion_one": _fashion_one,
    **{name: partial(_multi_target, name) for name in ("enb", "jura", "wq", "scpf", "edm")},
}
