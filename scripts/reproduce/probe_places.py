"""The problems whose fair studies the probe is trained on, and the tables that some of them read."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 3000  # of a table, at most
WORDS = 200  # columns of the texts
SPLIT = "data.split={val: 0.2, test: 0.3}"  # a test of few rows would say little
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


@dataclass(frozen=True)
class Place:
    """A problem.

    Attributes:
        family: What is left out together when the probe is judged.
        name: Its name, and that of its folder.
        options: The options of its runs; ``{tables}`` stands for the folder of the tables.
    """

    family: str
    name: str
    options: tuple[str, ...]


def places() -> list[Place]:
    """Return all problems, the families in turn, so that the first few are of all of them."""
    families = [
        list(make()) for make in (_related, _tables, _digits, _text, _images, _toys, _physics)
    ]
    rounds = itertools.zip_longest(*families)
    return [place for places in rounds for place in places if place is not None]


def _table(
    family: str, file: str, name: str, targets: str, *options: str, rows: str = "small"
) -> Place:
    """Return a problem of a table; ``rows`` says how long it trains."""
    length = {
        "small": ("data.batch_size=32", "trainer.epochs=25", SPLIT),
        "medium": ("data.batch_size=32", "trainer.epochs=12", SPLIT),
        "large": ("data.batch_size=64", "trainer.epochs=8", SPLIT),
    }[rows]
    path = f"data.path={{tables}}/{file}.csv"
    fixed = ["data=table", path, f"data.targets={{{targets}}}", "model.hidden=[64,64]"]
    # What is a task of another problem is no feature of this one.
    used = re.findall(r"(\w+):", targets)
    if unused := [column for column in LABELS.get(file, ()) if column not in used]:
        fixed.append(f"data.features={{drop: [{', '.join(unused)}]}}")
    return Place(family, name, (*fixed, *length, *options))


def _related() -> Iterator[Place]:
    dials = [
        ("0.0", "[1,1]"),
        ("0.8", "[0.3,3]"),
        ("1.0", "[0.1,10]"),
        ("0.5", "[1,1]"),
        ("0.0", "[0.1,10]"),
        ("1.0", "[1,1]"),
        ("0.5", "[0.3,3]"),
        ("-0.9", "[1,1]"),
    ]
    for cosine, scales in dials:
        options = ("data=related", f"data.cosine={cosine}", f"data.scales={scales}")
        name = f"related_{cosine}_{scales.strip('[]').replace(',', '_')}"
        yield Place(
            "related",
            name,
            (*options, "data.labels=one", "trainer.epochs=12", "model.hidden=[64,64]"),
        )
    base = ("data=related", "trainer.epochs=15", "data.dim=20", "model.hidden=[32]")
    yield Place("related", "related_noisy", (*base, "data.noise=1", "data.n=300"))
    four = ("data.scales=[0.3,1,1,3]", "data.labels=one", "data.cosine=0.7")
    yield Place("related", "related_four", (*base, *four))


def _tables() -> Iterator[Place]:
    raw = "data.scale_targets=false"
    two = "heating: regression, cooling: regression"
    yield _table("tables", "enb", "enb", two)
    yield _table("tables", "diabetes", "diabetes", "progress: regression, bmi: regression", raw)
    yield _table(
        "tables", "adult", "adult", "income: classification, never_married: classification",
        rows="large",
    )  # fmt: skip
    yield _table("tables", "wine", "wine", "cultivar: classification, alcohol: regression")
    yield _table("tables", "jura", "jura", "Cd: regression, Co: regression, Cu: regression")
    yield _table(
        "tables", "jura", "jura_raw", "Cd: regression, Co: regression, Cu: regression", raw
    )
    tox = ", ".join(f"{t}: classification" for t in ("NR_AhR", "SR_ARE", "SR_MMP"))
    yield _table("tables", "tox21", "tox21", tox, rows="large")
    yield _table(
        "tables",
        "scpf",
        "scpf",
        ", ".join(f"num_{n}: regression" for n in ("views", "votes", "comments")),
    )
    yield _table(
        "tables",
        "breast_cancer",
        "breast_cancer",
        "benign: classification, mean_smoothness: regression",
        raw,
    )
    yield _table("tables", "wq", "wq", ", ".join(f"species{i}: regression" for i in (1, 5, 9, 14)))
    census = "income: classification, education_num: regression, hours_per_week: regression"
    yield _table("tables", "adult", "adult_three", census, rows="large")
    yield _table("tables", "friedman", "friedman", "f1: regression, f2: regression, f3: regression")
    yield _table("tables", "friedman", "friedman_raw", "f1: regression, f3: regression", raw)
    yield _table("tables", "edm", "edm", "DFlow: regression, DGap: regression", "model.hidden=[16]")
    yield _table("tables", "iris", "iris", "species: classification, petal_width: regression")
    yield _table("tables", "enb", "enb_narrow", two, "model.hidden=[8]")


def _digits() -> Iterator[Place]:
    base = ("data=digits", "trainer.epochs=12")
    narrow, wide = "model.hidden=[16]", "model.hidden=[128,128]"
    sets = [
        ("digit,ink", narrow),
        ("digit,parity", wide),
        ("digit,image", wide),
        ("parity,ink", narrow),
        ("digit,parity,ink", wide),
        ("ink,image", wide),
        ("parity,image", narrow),
        ("digit,parity", narrow),
        ("digit,parity,ink,image", narrow),
    ]
    for tasks, width in sets:
        name = f"digits_{tasks.replace(',', '_')}{'_narrow' if width == narrow else ''}"
        yield Place("digits", name, (*base, f"data.tasks=[{tasks}]", width))


def _text() -> Iterator[Place]:
    def targets(*tasks: str) -> str:
        kinds = {"length": "regression"}
        return ", ".join(f"{t}: {kinds.get(t, 'classification')}" for t in tasks)

    raw = "data.scale_targets=false"
    sets = [
        (("earn", "usa"), "large"),
        (("acq", "length"), "large"),
        (("crude", "grain", "trade"), "large"),
        (("earn", "acq"), "large"),
        (("usa", "canada", "uk"), "large"),
        (("earn", "acq", "crude", "grain", "interest", "trade"), "large"),
        (("earn", "length"), "large"),
        (("grain", "usa"), "large"),
    ]
    for place, (tasks, rows) in enumerate(sets):
        options = [raw] if "length" in tasks else []
        options += ["model.hidden=[16]"] if place % 2 else []
        yield _table(
            "text", "reuters", f"text_{'_'.join(tasks)}", targets(*tasks), *options, rows=rows
        )


def _images() -> Iterator[Place]:
    both = "left: classification, right: classification"
    yield _table("images", "fashion_pairs", "fashion_pairs", both, rows="large")
    for font in ("italic", "inverse", "bold"):
        yield Place(
            "images",
            f"collapse_{font}",
            ("data=collapse", f"data.font={font}", "trainer.epochs=12"),
        )
    raw = "data.scale_targets=false"
    one = "kind: classification, brightness: regression"
    yield _table("images", "fashion_one", "fashion_brightness", one, raw, rows="large")
    colours = "red: regression, green: regression, blue: regression"
    yield _table("images", "china", "china", colours, raw, rows="large")
    yield _table(
        "images", "fashion_pairs", "fashion_pairs_narrow", both, "model.hidden=[12]", rows="large"
    )
    mixed = "left: classification, right_brightness: regression"
    yield _table("images", "fashion_pairs", "fashion_mixed", mixed, rows="large")
    yield _table(
        "images", "china", "china_red_blue", "red: regression, edge: regression", raw, rows="large"
    )


def _toys() -> Iterator[Place]:
    mixed = ("data=toy_mixed", "data.n=500", "trainer.epochs=25", "model.hidden=[32]")
    for sigma in ("0.2", "2", "20"):
        yield Place("toys", f"toy_mixed_{sigma}", (*mixed, f"data.sigma={sigma}"))
    small = (
        "data=gradnorm_toy",
        "data.n=1000",
        "data.dim=50",
        "data.outputs=10",
        "trainer.epochs=25",
    )
    for sigmas in ("1,100", "1,1", "1,3,10"):
        options = (*small, f"data.sigmas=[{sigmas}]", "model.hidden=[50,50]")
        yield Place("toys", f"gradnorm_toy_{sigmas.replace(',', '_')}", options)
    lines = ("data=toy_regression", "model=mlp", "model.hidden=[16]", "trainer.epochs=40")
    yield Place("toys", "toy_regression", lines)
    equal = ("data.noise={y1: 1.0, y2: 1.0}", "data.n=60")
    yield Place("toys", "toy_regression_equal", (*lines, *equal))


def _physics() -> Iterator[Place]:
    net = ("model.hidden=[20,20,20]", "trainer.epochs=12", "data.grid_lines=41")
    yield Place("physics", "poisson", ("data=poisson", *net))
    yield Place("physics", "helmholtz", ("data=helmholtz", "data.a2=2", *net))
    yield Place("physics", "burgers_inverse", ("data=burgers_inverse", *net))
    yield Place("physics", "kovasznay", ("data=kovasznay", *net))
    yield Place("physics", "helmholtz_14", ("data=helmholtz", *net))
    yield Place("physics", "poisson_1", ("data=poisson", "data.a=1", *net))
    yield Place("physics", "burgers_noise", ("data=burgers_inverse", "data.noise=0.1", *net))
    yield Place("physics", "klein_gordon", ("data=klein_gordon", *net))
    yield Place("physics", "burgers", ("data=burgers", *net))


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


def has_table(place: Place, folder: Path) -> bool:
    """Return whether the table of a problem is there, if it needs one."""
    found = [re.search(r"\{tables\}/(\w+\.csv)", option) for option in place.options]
    return all((folder / match[1]).exists() for match in found if match)


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
