"""Wrong inputs of all sorts, drawn at random from a seed: options, tables, datasets and models.

A case is a command with the files that it needs. Most cases are wrong; those that are not have to
be defended (``tests/cli/test_wrong_inputs.py``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mtl_runner.config.conf_directory import conf_directory

TABLE_ROWS = 60


@dataclass(frozen=True)
class WrongInput:
    """A command and the files in its working directory.

    Attributes:
        sort: ``"option"``, ``"group"``, ``"table"``, ``"dataset"`` or ``"class"``.
        options: The options of ``mtl-run``.
        files: The content of the files, by name.
        key: The key that is set (``option``, ``group``), or the name of the flaw.
        value: The value as it is typed; empty for flaws.
        default: What the key holds in the config; None also for flaws.
    """

    sort: str
    options: tuple[str, ...]
    files: tuple[tuple[str, bytes], ...] = ()
    key: str = ""
    value: str = ""
    default: Any = None

    def write(self, folder: Path) -> None:
        """Write the files into a folder."""
        for name, content in self.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def __str__(self) -> str:
        return f"{self.sort} {' '.join(self.options)}"


def wrong_inputs(seed: int, count: int) -> Iterator[WrongInput]:
    """Yield cases without end of all sorts; another seed gives others.

    Args:
        seed: The seed of all choices.
        count: The number of cases.
    """
    chance = random.Random(seed)
    makers: dict[Callable[[random.Random], WrongInput], int] = {
        _option: 60,
        _group: 6,
        _table: 20,
        _dataset: 9,
        _class: 5,
    }
    seen: set[str] = set()
    while len(seen) < count:
        (maker,) = chance.choices(list(makers), list(makers.values()))
        case = maker(chance)
        if str(case) not in seen:
            seen.add(str(case))
            yield case


# Settings whose options are tried; each trains for a moment.
SETTINGS: tuple[tuple[str, ...], ...] = (
    (),
    ("data=toy_mixed",),
    ("data=digits",),
    ("data=table", "data.path=t.csv", "data.targets={a: regression, c: classification}"),
    ("data=cagrad_toy",),
    ("data=collapse",),
    ("data=multi_digits", "data.rows=100"),
    ("data=scenes", "data.n=6", "data.n_val=4", "data.n_test=4", "model.depth=1"),
    ("data=speed_mismatch", "model.depth=1"),
    ("data=fonseca_fleming",),
    ("weighting=fixed", "model=mlp"),
    ("weighting=dwa",),
    ("weighting=famo",),
    ("weighting=stch",),
    ("weighting=pbi",),
    ("weighting=cosmos",),
    ("weighting=gradnorm", "model=mlp"),
    ("weighting=imtl_l",),
    ("weighting=learned",),
    ("weighting=random",),
    ("weighting=uncertainty_softmax",),
    ("weighting=upgrad", "model=mlp"),
    ("weighting=cagrad", "model=mlp"),
    ("weighting=staged",),
    ("weighting=fixed", "schedule=alternate"),
    ("weighting=fixed", "schedule=plateau"),
    ("weighting=fixed", "schedule=ramp"),
    ("weighting=fixed", "update=per_task"),
    ("weighting=fixed", "update=adatask"),
    ("weighting=fixed", "likelihood=homoscedastic"),
    ("weighting=fixed", "likelihood=heteroscedastic"),
    ("optimizer=sgd",),
    ("optimizer=adamw",),
)

VALUES = (
    *("nan", "inf", "-inf", "-1", "0", "1", "2", "1.5", "1e3", "1e300", "1e-300", "-1e300"),
    *("123456789012345678901", "text", "ünïcode→", "''", "' '", "'1'", "'nan'", "null"),
    *("true", "false", "[]", "[0]", "[-1]", "[a]", "[nan,nan]", "[null]", "[[]]", "{}"),
    *("{a: 1}", "{y1: nan}", "{y1: text}", "{y1: -1}", "{y9: 1}", "{_target_: no.such.Thing}"),
    *("{_target_: builtins.int}", "{1: 2}", "???", "${nope}", "../x", "a.b", "[1,2,3]"),
)

# Values that are legal and only take long or write elsewhere.
NOT_TRIED = {
    ("trainer.epochs", "123456789012345678901"),
    ("name", "../x"),
}

GROUPS = (
    *("data", "model", "weighting", "update", "schedule", "likelihood", "optimizer", "trainer"),
    *("experiment", "study"),
)


def quick(options: tuple[str, ...]) -> tuple[str, ...]:
    """Return options with which every setting trains for a moment only."""
    return ("trainer.epochs=1", "record.plots=none", *options)


@cache
def options_of(setting: tuple[str, ...]) -> dict[str, Any]:
    """Return every key of a setting's config, also of its mappings, with what it holds."""
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = compose("config", list(setting))
    options: dict[str, Any] = {}

    def collect(node: Mapping[str, Any], prefix: str) -> None:
        for key, value in node.items():
            options[f"{prefix}{key}"] = value
            if isinstance(value, dict):
                collect(value, f"{prefix}{key}.")

    plain: Any = OmegaConf.to_container(config, resolve=False)
    collect(plain, "")
    return options


def _option(chance: random.Random) -> WrongInput:
    """Return an option of the config with a value that mostly does not fit it."""
    setting = chance.choice(SETTINGS)
    known = options_of(setting)
    while True:
        key, value = chance.choice(list(known)), chance.choice(VALUES)
        if (key, value) not in NOT_TRIED:
            break
    options = (*quick(setting), f"{key}={value}")
    return WrongInput("option", options, (_good_table(),), key, value, known[key])


def _group(chance: random.Random) -> WrongInput:
    """Return a choice of a config group that is no name."""
    group, value = chance.choice(GROUPS), chance.choice(VALUES)
    options = (*quick(()), f"{'+' if group == 'study' else ''}{group}={value}")
    return WrongInput("group", options, key=group, value=value)


def _good_table() -> tuple[str, bytes]:
    return "t.csv", "\n".join(["a,b,c", *_rows()]).encode()


def _rows() -> list[str]:
    return [f"{i * 7 % 31},{i % 11 - 5},{'xyz'[i % 3]}" for i in range(TABLE_ROWS)]


def _cell(text: str) -> Callable[[random.Random, list[str]], bytes]:
    """Return a flaw: one cell of a column of numbers holds something else."""

    def flaw(chance: random.Random, rows: list[str]) -> bytes:
        row, column = chance.randrange(len(rows)), chance.randrange(2)
        cells = rows[row].split(",")
        cells[column] = text
        rows[row] = ",".join(cells)
        return _text("a,b,c", rows)

    return flaw


def _column(*values: str) -> Callable[[random.Random, list[str]], bytes]:
    """Return a flaw: a column holds the values, over and over."""

    def flaw(chance: random.Random, rows: list[str]) -> bytes:
        column = chance.randrange(3)
        for i, row in enumerate(rows):
            cells = row.split(",")
            cells[column] = values[i % len(values)]
            rows[i] = ",".join(cells)
        return _text("a,b,c", rows)

    return flaw


def _header(header: str) -> Callable[[random.Random, list[str]], bytes]:
    return lambda chance, rows: _text(header, rows)


def _whole(change: Callable[[bytes], bytes]) -> Callable[[random.Random, list[str]], bytes]:
    return lambda chance, rows: change(_text("a,b,c", rows))


def _inserted(line: str) -> Callable[[random.Random, list[str]], bytes]:
    def flaw(chance: random.Random, rows: list[str]) -> bytes:
        rows.insert(chance.randrange(len(rows)), line)
        return _text("a,b,c", rows)

    return flaw


def _text(header: str, rows: list[str]) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


TABLE_FLAWS: dict[str, Callable[[random.Random, list[str]], bytes]] = {
    **{
        f"cell {text!r}": _cell(text)
        for text in (
            *("x", "inf", "-inf", "1e300", "nan", "12 %", "1 234", "12.30 EUR", "1e400", "0x10"),
            *("2024-01-01", "'1,5'", '"1,5"', "ü", "\x00", "\x1b[31m", "=1+1", "true", "?", " "),
        )
    },
    **{
        f"column {values}": _column(*values)
        for values in (
            *(("",), ("1",), ("x",), ("nan",), ("inf",), ("1e300",), ("true", "false"), ("", "1")),
            *(("", "x"), ("x",) * 59 + ("z",), ("1",) * 59 + ("2",), ("2024-01-01", "2024-01-02")),
            *(("1e-300",), ("1e38", "-1e38"), ("12,5",), ("0", "1"), ("ü", "→"), ("1.5", "2.5")),
        )
    },
    **{
        f"header {header!r}": _header(header)
        for header in (
            *("a,b", "a,b,c,d", "a,a,c", "a,b,b", ",b,c", "a,,c", ",,", "total,b,c", "a,total,c"),
            *("a b,c d,e", "ä,b,c", "$a$,b,c", "a;b;c", "1,2,3", "a/b,c,d", "A,B,C", '"a,b",c'),
            *("a.b,c,d", " a, b, c", "'a',b,c", "a/log_variance,b,c", "../a,b,c", "<b>,b,c"),
        )
    },
    **{
        f"line {line!r}": _inserted(line)
        for line in ("1,2", "1,2,x,4", "", ",,", "# comment", "1;2;x", '"1,2,x', "a,b,c", "1,2,x,")
    },
    "empty": lambda chance, rows: b"",
    "only a header": lambda chance, rows: b"a,b,c\n",
    "only newlines": lambda chance, rows: b"\n\n\n",
    "a few rows": lambda chance, rows: _text("a,b,c", rows[: chance.randrange(1, 9)]),
    "no header": lambda chance, rows: _text(rows[0], rows[1:]),
    "semicolons": _whole(lambda content: content.replace(b",", b";")),
    "tabs": _whole(lambda content: content.replace(b",", b"\t")),
    "spaces": _whole(lambda content: content.replace(b",", b" ")),
    "trailing commas": _whole(lambda content: content.replace(b"\n", b",\n")),
    "trailing commas in rows": lambda chance, rows: _text("a,b,c", [f"{row}," for row in rows]),
    "carriage returns": _whole(lambda content: content.replace(b"\n", b"\r")),
    "Windows": _whole(lambda content: content.replace(b"\n", b"\r\n")),
    "byte order mark": _whole(lambda content: b"\xef\xbb\xbf" + content),
    "UTF-16": _whole(lambda content: content.decode().encode("utf-16")),
    "Latin-1": _whole(lambda content: content.replace(b"x", b"\xe9")),
    "NUL": _whole(lambda content: content.replace(b"x", b"\x00")),
    "random bytes": lambda chance, rows: chance.randbytes(chance.randrange(1, 2000)),
    "JSON": lambda chance, rows: b'{"a": [1, 2], "b": [3, 4]}',
    "HTML": lambda chance, rows: b"<html><body>404 Not Found</body></html>",
    "cut off": _whole(lambda content: content[: len(content) // 2]),
    "open quote": _whole(lambda content: content[:20] + b'"' + content[20:]),
    "quotes everywhere": _whole(lambda content: b'"' + content.replace(b",", b'"') + b'"'),
    "decimal commas": _whole(lambda content: content.replace(b"\n1", b'\n"1,5"')),
    "unchanged": _whole(lambda content: content),
}

TARGETS = (
    *("[a]", "[a,b]", "[a,b,c]", "[c]", "{a: regression, c: classification}", "{b: regression}"),
    *("{c: regression}", "{a: classification}", "{a: regression, b: regression}", "[a,a]"),
    *("{a: multilabel}", "{a: regression_l1}", "{a: direction}", "{a: term}", "[z]", "{a: null}"),
    *("[{name: n, column: a, kind: regression}]", "[{name: n}]", "[{column: a}]", "[1]", "a"),
    *("[{name: n, column: c, kind: classification, positive: x}]", "{a: 1}", "[[a]]", "[null]"),
    *("[{name: total, column: a, kind: regression}]", "[{name: n, colum: a}]", "{'': regression}"),
)

SPLITS = (
    *("{val: .9, test: .9}", "{val: 0, test: .1}", "{column: c}", "{column: z}", "{folds: 1}"),
    *("{folds: 3, fold: 3}", "{folds: 3, fold: 0}", "{val: no.csv, test: no.csv}", "{val: t.csv}"),
    *("{val: nan, test: nan}", "{val: text}", "[1]", "text", "{folds: 100, fold: 1}", "{a: 1}"),
    *("{val: t.csv, test: t.csv}", "{val: -.1, test: .2}", "{folds: x, fold: y}"),
)


def _table(chance: random.Random) -> WrongInput:
    """Return a malformed table, with targets, and sometimes a split, that may not fit it."""
    flaw = chance.choice(list(TABLE_FLAWS))
    content = TABLE_FLAWS[flaw](chance, _rows())
    name = chance.choices(["t.csv", "t.tsv", "t.csv.gz", "t.parquet"], [20, 1, 1, 1])[0]
    targets = chance.choice(TARGETS[:6]) if chance.random() < 0.6 else chance.choice(TARGETS)
    options = ["data=table", f"data.path={name}", f"data.targets={targets}", "model.hidden=[4]"]
    if chance.random() < 0.3:
        options.append(f"data.split={chance.choice(SPLITS)}")
    return WrongInput("table", quick(tuple(options)), ((name, content),), flaw)


DATASET = """
import numpy as np
import torch
from torch import nn
from mtl_runner.data import Split
from mtl_runner.tasks.task import Task

class Odd:
    def __len__(self): raise RuntimeError("my own bug")

def cut(n, **changes):
    parts = dict(inputs=torch.randn(n, 3), targets={{"a": torch.randn(n, 1), "b": torch.randn(n)}})
    return Split(**{{**parts, **changes}})

class Data:
    def __init__(self):
        torch.manual_seed(0)
        n = 20
        self.tasks = [Task("a"), Task("b")]
        self.splits = {{"train": cut(40), "val": cut(n), "test": cut(n)}}
        {statement}
"""

# Values of a wrong type or shape, in a dataset of `n` = 20 rows.
OBJECTS = (
    *("None", "0", "'text'", "[]", "{}", "[1, 2]", "np.zeros(n)", "torch.zeros(n)", "Odd()", "Odd"),
    *("torch.zeros(())", "torch.zeros(0)", "torch.zeros(n, 0)", "torch.zeros(n, 3, 3)", "{'a': 1}"),
    *("torch.zeros(n, dtype=torch.long)", "torch.ones(n, dtype=torch.bool)", "lambda: 0"),
    *("torch.zeros(n, dtype=torch.complex64)", "torch.full((n,), torch.nan)", "range(n)"),
    *("torch.full((n,), 1e300, dtype=torch.float64)", "torch.zeros(n).to_sparse()", "float('nan')"),
    *("torch.zeros(n, requires_grad=True)", "torch.full((n, 3), 1e30)", "[torch.zeros(n)]"),
    *("-torch.ones(n, dtype=torch.long)", "torch.arange(n)", "torch.zeros(n, dtype=torch.uint8)"),
    *("torch.zeros(n, device='meta')", "np.array(['x'] * n)", "{'a': torch.zeros(n, 3)}"),
)

PLACES = (
    *("self.tasks = {}", "self.splits = {}", "self.splits['val'] = {}", "self.tasks[0] = {}"),
    *("self.splits['train'].inputs = {}", "self.splits['val'].inputs = {}"),
    *("self.splits['train'].targets = {}", "self.splits['val'].targets['a'] = {}"),
    *("self.splits['test'].targets['b'] = {}", "self.splits['val'].masks = {}"),
    *("self.splits['val'].masks = dict(a={})", "self.preprocessing = {}"),
    "for s in self.splits: self.splits[s] = cut(n, inputs={})",
    "for s in self.splits: self.splits[s] = cut(n); self.splits[s].targets['a'] = {}",
)

KINDS = ("classification", "multilabel", "direction", "regression_l1", "regression")

TASK_ARGUMENTS = (
    *("scale=0", "scale=float('nan')", "scale=-1", "scale='x'", "scale=None", "size=-1", "size=7"),
    *("size='x'", "size=None", "offset='x'", "offset=float('nan')", "true_sigma=-1", "metrics=1"),
    *("metrics=('nope',)", "metrics=(1,)", "classes=1", "classes=('x',)", "class_weights=(0., 0.)"),
    *("class_weights=(float('nan'), 1.)", "class_weights='x'", "class_weights=(1.,)", "missing=3"),
    *("trivial='x'", "loss_term=3", "loss_term=lambda o, t: 1", "nope=1"),
    *("loss_term=lambda o: 1", "loss_term=lambda: 1", "loss_term=lambda o, t, x: 1"),
    *("loss_term=lambda o, t: o['a']", "loss_term=lambda o, t: torch.tensor(1.0)", "kind=3"),
    *("kind='term'", "kind=None", "kind=[]", "places=3", "metrics='rmse'", "offset=1e300"),
)

STATEMENTS = (
    *("raise RuntimeError('my own bug')", "raise ValueError", "exit(3)", "raise SystemExit"),
    *("del self.tasks", "del self.splits['val']", "del self.splits", "1 / 0", "import nowhere"),
    *("raise KeyError('x')", "assert False", "assert False, 'two\\nlines'", "raise StopIteration"),
    *("raise MemoryError", "raise OSError('no')", "open('nowhere')", "raise NotImplementedError"),
    *("self.splits['val'] = cut(0)", "self.splits['val'] = cut(1)", "torch.zeros(3)[7]"),
    *("self.splits['val'].targets.pop('a')", "self.splits['more'] = None", "self.tasks *= 2"),
    *("self.tasks = tuple(self.tasks)", "self.tasks = iter(self.tasks)", "self.tasks = []"),
)


def _dataset(chance: random.Random) -> WrongInput:
    """Return a run with a user's dataset class that is not as it must be."""
    sort = chance.randrange(4)
    if sort == 0:
        statement = chance.choice(STATEMENTS)
    elif sort == 1:
        statement = f"self.tasks[0] = Task('a', {chance.choice(TASK_ARGUMENTS)})"
    else:
        statement = chance.choice(PLACES).format(chance.choice(OBJECTS))
        if chance.random() < 0.4 and "self.tasks" not in statement:
            statement += f"; self.tasks = [Task('a', {chance.choice(KINDS)!r}), Task('b')]"
    return _own_class("dataset", DATASET.format(statement=statement), statement, "data")


CLASS = """
import torch
from torch import nn

class Odd(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.layer = nn.Linear(1, 2)
    def forward(self, x):
        a, b = self.layer(x).split(1, dim=1)
        return {expression}

def make(**options):
    return {expression_made}
"""

RETURNED = (
    *("None", "0", "'text'", "[a, b]", "(a, b)", "a", "{'y1': a}", "{}", "{'y1': a, 'y2': None}"),
    *("{'y1': a, 'y2': 1}", "{'y1': a, 'y2': torch.cat([b, b])}", "{'y1': a, 'y2': b[:3]}"),
    *("{'y1': a, 'y2': b.mean()}", "{'y1': a.detach(), 'y2': b}", "{'y1': a, 'y2': b * torch.nan}"),
    *("{'y1': a, 'y2': b.long()}", "{'y1': a, 'y2': b > 0}", "{'y1': a, 'y2': b.double()}"),
    *("{'y1': a, 'y2': b, 'y3': b}", "{1: a, 2: b}", "{'y1': a, 'y2': b.item()}", "1 / 0"),
    *("{'y1': a, 'y2': b / 0}", "{'y1': a, 'y2': torch.complex(b, b)}", "{'y1': [a], 'y2': b}"),
    *("{'y1': a[:, :0], 'y2': b}", "{'y1': a.detach(), 'y2': b.detach()}", "self", "x"),
)

MADE = (
    *(
        "None",
        "0",
        "'text'",
        "[]",
        "{}",
        "torch.nn.Linear(1, 1)",
        "object()",
        "int",
        "lambda *x: 0",
    ),
    *("torch.nn.Sequential()", "torch.nn.Parameter(torch.zeros(2))", "1 / 0", "torch.zeros(2)"),
    *("torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=1)", "(1, 2)", "nn.Identity()"),
)


def _class(chance: random.Random) -> WrongInput:
    """Return a run with a user's model that returns, or a class that is, something else."""
    if chance.random() < 0.5:
        expression = chance.choice(RETURNED)
        content = CLASS.format(expression=expression, expression_made="None")
        return _own_class("class", content, expression, "model", "Odd")
    made = chance.choice(MADE)
    group = chance.choice(("model", "weighting", "update", "schedule", "likelihood", "optimizer"))
    content = CLASS.format(expression="{}", expression_made=made)
    return _own_class("class", content, f"{group} {made}", group, "make")


def _own_class(sort: str, content: str, flaw: str, group: str, name: str = "Data") -> WrongInput:
    """Return a run whose config names something in a user's module."""
    options = {"data": ("data=bare", "model=mlp", "model.hidden=[4]")}.get(
        group, (f"{group}=bare",)
    )
    config = f"_target_: mine.{name}\n" + ("batch_size: 20\n" if group == "data" else "")
    files = (("mine.py", content.encode()), (f"conf/{group}/bare.yaml", config.encode()))
    return WrongInput(sort, quick(options), files, flaw)
