"""The problems whose studies the probe is trained on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probe_tables import LABELS

SPLIT = "data.split={val: 0.2, test: 0.3}"  # a test of few rows would say little
RAW = "data.scale_targets=false"
NARROW = "model.hidden=[16]"


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


def _table(family: str, file: str, name: str, tasks: str, *options: str) -> Place:
    """Return a problem of a table.

    Args:
        family: The family.
        file: The name of the table.
        name: The name of the problem.
        tasks: The columns that are tasks; those with a star are classes.
        options: Options of its own, which win over those of all tables.
    """
    targets = [
        f"{task.rstrip('*')}: {'classification' if task.endswith('*') else 'regression'}"
        for task in tasks.split()
    ]
    path = f"data.path={{tables}}/{file}.csv"
    fixed = ["data=table", path, f"data.targets={{{', '.join(targets)}}}", "model.hidden=[64,64]"]
    # What is a task of another problem is no feature of this one.
    used = [task.rstrip("*") for task in tasks.split()]
    if unused := [column for column in LABELS.get(file, ()) if column not in used]:
        fixed.append(f"data.features={{drop: [{', '.join(unused)}]}}")
    is_large = file in ("adult", "tox21", "reuters", "china", "fashion_one", "fashion_pairs")
    large, small = (
        ("data.batch_size=64", "trainer.epochs=8"),
        ("data.batch_size=32", "trainer.epochs=25"),
    )
    return Place(family, name, (*fixed, *(large if is_large else small), SPLIT, *options))


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
        ("0.9", "[1,1,1]"),
        ("0.0", "[0.3,3]"),
        ("0.9", "[0.1,1,10]"),
    ]
    for cosine, scales in dials:
        options = ("data=related", f"data.cosine={cosine}", f"data.scales={scales}")
        name = f"related_{cosine}_{scales.strip('[]').replace(',', '_')}"
        short = ("data.labels=one", "trainer.epochs=12", "model.hidden=[64,64]")
        yield Place("related", name, (*options, *short))
    base = ("data=related", "trainer.epochs=15", "data.dim=20", "model.hidden=[32]")
    yield Place("related", "related_noisy", (*base, "data.noise=1", "data.n=300"))
    four = ("data.scales=[0.3,1,1,3]", "data.labels=one", "data.cosine=0.7")
    yield Place("related", "related_four", (*base, *four))


def _tables() -> Iterator[Place]:
    settings: list[tuple[str, str, str, tuple[str, ...]]] = [
        ("enb", "enb", "heating cooling", ()),
        ("diabetes", "diabetes", "progress bmi", (RAW,)),
        ("adult", "adult", "income* never_married*", ()),
        ("wine", "wine", "cultivar* alcohol", ()),
        ("jura", "jura", "Cd Co Cu", ()),
        ("jura", "jura_raw", "Cd Co Cu", (RAW,)),
        ("tox21", "tox21", "NR_AhR* SR_ARE* SR_MMP*", ()),
        ("scpf", "scpf", "num_views num_votes num_comments", ()),
        ("breast_cancer", "breast_cancer", "benign* mean_smoothness", (RAW,)),
        ("wq", "wq", "species1 species5 species9 species14", ()),
        ("adult", "adult_three", "income* education_num hours_per_week", ()),
        ("friedman", "friedman", "f1 f2 f3", ()),
        ("friedman", "friedman_raw", "f1 f3", (RAW,)),
        ("edm", "edm", "DFlow DGap", (NARROW,)),
        ("iris", "iris", "species* petal_width", ()),
        ("enb", "enb_narrow", "heating cooling", ("model.hidden=[8]",)),
        ("wine", "wine_three", "cultivar* proline malic_acid", ()),
        ("scpf", "scpf_two", "num_views num_comments", (NARROW,)),
        ("adult", "adult_mixed", "never_married* hours_per_week", (NARROW,)),
        ("tox21", "tox21_two", "NR_AhR* SR_MMP*", (NARROW,)),
        ("wq", "wq_two", "species1 species9", (NARROW,)),
        ("friedman", "friedman_mixed", "f2 f3", (RAW, NARROW)),
        ("diabetes", "diabetes_scaled", "progress bmi bp", ()),
    ]
    for file, name, tasks, options in settings:
        yield _table("tables", file, name, tasks, *options)


def _digits() -> Iterator[Place]:
    wide = "model.hidden=[128,128]"
    sets = [
        ("digit,ink", NARROW),
        ("digit,parity", wide),
        ("digit,image", wide),
        ("parity,ink", NARROW),
        ("digit,parity,ink", wide),
        ("ink,image", wide),
        ("parity,image", NARROW),
        ("digit,parity", NARROW),
        ("digit,parity,ink,image", NARROW),
        ("digit,image", NARROW),
        ("parity,ink", wide),
        ("digit,ink,image", wide),
    ]
    for tasks, width in sets:
        name = f"digits_{tasks.replace(',', '_')}{'_narrow' if width == NARROW else ''}"
        options = ("data=digits", "trainer.epochs=12", f"data.tasks=[{tasks}]", width)
        yield Place("digits", name, options)


def _text() -> Iterator[Place]:
    sets = [
        "earn* usa*",
        "acq* length",
        "crude* grain* trade*",
        "earn* acq*",
        "usa* canada* uk*",
        "earn* acq* crude* grain* interest* trade*",
        "earn* length",
        "grain* usa*",
        "length usa*",
        "interest* trade*",
        "acq* earn* length",
        "crude* uk* length",
    ]
    for place, tasks in enumerate(sets):
        options = [RAW] if "length" in tasks else []
        options += [NARROW] if place % 2 else []
        name = f"text_{tasks.replace('*', '').replace(' ', '_')}"
        yield _table("text", "reuters", name, tasks, *options)


def _images() -> Iterator[Place]:
    both = "left* right*"
    yield _table("images", "fashion_pairs", "fashion_pairs", both)
    for font in ("italic", "inverse", "bold"):
        options = ("data=collapse", f"data.font={font}", "trainer.epochs=12")
        yield Place("images", f"collapse_{font}", options)
    yield _table("images", "fashion_one", "fashion_brightness", "kind* brightness", RAW)
    yield _table("images", "china", "china", "red green blue", RAW)
    narrow = "model.hidden=[12]"
    yield _table("images", "fashion_pairs", "fashion_pairs_narrow", both, narrow)
    yield _table("images", "fashion_pairs", "fashion_mixed", "left* right_brightness")
    yield _table("images", "china", "china_red_blue", "red edge", RAW)
    yield _table("images", "china", "china_scaled", "red green blue", NARROW)
    yield _table("images", "fashion_one", "fashion_scaled", "kind* brightness", NARROW)
    yield _table("images", "fashion_pairs", "fashion_three", "left* right* right_brightness")


def _toys() -> Iterator[Place]:
    mixed = ("data=toy_mixed", "data.n=500", "trainer.epochs=25", "model.hidden=[32]")
    for sigma in ("0.2", "2", "20"):
        yield Place("toys", f"toy_mixed_{sigma}", (*mixed, f"data.sigma={sigma}"))
    toy = ("data=gradnorm_toy", "data.n=1000", "data.dim=50", "data.outputs=10")
    for sigmas in ("1,100", "1,1", "1,3,10"):
        options = ("trainer.epochs=25", f"data.sigmas=[{sigmas}]", "model.hidden=[50,50]")
        yield Place("toys", f"gradnorm_toy_{sigmas.replace(',', '_')}", (*toy, *options))
    lines = ("data=toy_regression", "model=mlp", NARROW, "trainer.epochs=40")
    yield Place("toys", "toy_regression", lines)
    equal = ("data.noise={y1: 1.0, y2: 1.0}", "data.n=60")
    yield Place("toys", "toy_regression_equal", (*lines, *equal))
    classes = ("data.classes=8", "data.temperature=0.5", "data.dim=10")
    yield Place("toys", "toy_mixed_classes", (*mixed, *classes))
    options = ("trainer.epochs=25", "data.sigmas=[1,10]", NARROW)
    yield Place("toys", "gradnorm_toy_narrow", (*toy, *options))


def _physics() -> Iterator[Place]:
    net = ("model.hidden=[20,20,20]", "trainer.epochs=12", "data.grid_lines=41")
    settings: list[tuple[str, tuple[str, ...]]] = [
        ("poisson", ("data=poisson",)),
        ("helmholtz", ("data=helmholtz", "data.a2=2")),
        ("burgers_inverse", ("data=burgers_inverse",)),
        ("kovasznay", ("data=kovasznay",)),
        ("helmholtz_14", ("data=helmholtz",)),
        ("poisson_1", ("data=poisson", "data.a=1")),
        ("burgers_noise", ("data=burgers_inverse", "data.noise=0.1")),
        ("klein_gordon", ("data=klein_gordon",)),
        ("burgers", ("data=burgers",)),
        ("kovasznay_40", ("data=kovasznay", "data.reynolds=40")),
        ("burgers_smooth", ("data=burgers", "data.viscosity=0.1")),
    ]
    for name, options in settings:
        yield Place("physics", name, (*options, *net))


def has_table(place: Place, folder: Path) -> bool:
    """Return whether the table of a problem is there, if it needs one."""
    found = [re.search(r"\{tables\}/(\w+\.csv)", option) for option in place.options]
    return all((folder / match[1]).exists() for match in found if match)
