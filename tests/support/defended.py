"""The list of what must come out of every wrong input: a sentence that names it, or a reason.

Every flaw that :mod:`tests.support.wrong_inputs` makes is listed here. What is accepted without
being listed, and what is refused in a sentence that speaks of something else, is a complaint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.support.commands import Result
from tests.support.wrong_inputs import WrongInput

# How an error begins that nobody has worded.
RAW = re.compile(r"\b[A-Z]\w*(Error|Exception|Interrupt)\b|Traceback|<class '|object at 0x|Errno")
# A user's own class may raise what it likes; the sentence says where.
OWN_BUG = re.compile(r"\(raised in mine\.py, line \d+\)")


@dataclass(frozen=True)
class Due:
    """Describes what may come out of a flaw.

    Attributes:
        refused: The pattern of the sentence; None if the flaw is no reason to refuse anything.
        accepted: Why a run with it is right; ``""`` if none is.
        warning: The pattern of what such a run must say; ``""`` if nothing.
        only_with: The pattern of the tables' flaws with which it is accepted; ``""`` fits all.
    """

    refused: str | None = None
    accepted: str = ""
    warning: str = ""
    only_with: str = ""


def complaint(case: WrongInput, result: Result) -> str:
    """Return what is wrong with how a case ended; ``""`` if nothing is."""
    if "Traceback" in result.out + result.err:
        return "a traceback"
    if result.code == 0:
        return "" if reason(case, result) else "accepted without a reason"
    if result.code != 1:
        return f"exit status {result.code}"
    if len(result.err.strip().splitlines()) != 1:
        return "not one line"
    if RAW.search(result.err) and not OWN_BUG.search(result.err):
        return "a raw sentence"
    names = sentences(case)
    return "" if re.search(names, result.err) else f"the sentence does not name the flaw ({names})"


def reason(case: WrongInput, result: Result) -> str:
    """Return why a case is accepted with good reason; ``""`` if there is none."""
    if case.sort == "table":
        dues = _dues_of_table(case)
        if not all(due.accepted and re.search(due.only_with, case.key) for due in dues):
            return ""
        warned = all(re.search(due.warning, result.out) for due in dues)
        return "; ".join(dict.fromkeys(due.accepted for due in dues)) if warned else ""
    if case.sort == "dataset":
        return next((why for flaw, why in DATASETS.items() if re.fullmatch(flaw, case.key)), "")
    if case.sort == "class":
        return CLASSES.get(case.key, "")
    if case.sort == "group":
        return GROUPS_TO_CHOOSE.get(f"{case.key}={case.value}", "")
    return _reason_of_option(case)


def sentences(case: WrongInput) -> str:
    """Return the pattern of the sentences with which a case may be refused."""
    if case.sort == "table":
        patterns = [due.refused for due in _dues_of_table(case) if due.refused is not None]
        return "|".join(patterns) or "nothing is wrong"
    if case.sort == "dataset":
        return next(names for flaw, names in NAMES_IN_DATASETS.items() if re.search(flaw, case.key))
    if case.sort == "class":
        return NAMES_IN_CLASSES
    part, _, name = case.key.rpartition(".")
    names = {case.key, name, part or name} - {"data", "model", "weighting", "_target_"} | {case.key}
    diverged = ("became NaN or infinite",) if number(case.value) is not None else ()
    return "|".join((*map(re.escape, sorted(names)), *UNREADABLE.get(case.value, ()), *diverged))


# Options. The text of an option that is no YAML, or refers to nothing, has a sentence of its own.

UNREADABLE: Mapping[str, tuple[str, ...]] = {
    "${nope}": (r"cannot be resolved: .*'nope'",),
    "ünïcode→": (r"cannot be parsed",),
    "-inf": (),
}


@dataclass(frozen=True)
class Range:
    """The numbers that a key takes.

    Attributes:
        low: The smallest one.
        high: The largest one.
        open_low: Whether ``low`` itself is none.
        open_high: Whether ``high`` itself is none.
        integer: Whether they are whole numbers.
    """

    low: float = -3.4e38
    high: float = 3.4e38
    open_low: bool = False
    open_high: bool = False
    integer: bool = False

    def __contains__(self, value: float) -> bool:
        """Return whether a number lies in the range."""
        return (
            self.low <= value <= self.high
            and not (self.open_low and value == self.low)
            and not (self.open_high and value == self.high)
            and (not self.integer or isinstance(value, int))
        )


ANY = Range()
COUNT = Range(1, 2**63 - 1, integer=True)
SEED = Range(0, 2**63 - 1, integer=True)
POSITIVE = Range(0, 1e300, open_low=True)
NOT_NEGATIVE = Range(0, 1e300)
RATE = Range(1.2e-38, 1e300)
LOG_SCALE = Range(-87, 87)
SHARE = Range(0, 1)
SHARE_BELOW_1 = Range(0, 1, open_high=True)

# The documented range of every key that takes a number: comments of conf/, and docstrings.
RANGES: Mapping[str, Range] = {
    r"(data\.)?seed": SEED,
    r"data\.(batch_size|n|n_val|n_test|dim|rows|height|width|max_categories)": COUNT,
    r"data\.(loader\.prefetch_factor|steps_per_epoch|shuffle_rows)": COUNT,
    r"data\.loader\.workers": Range(0, 1024, integer=True),
    r"data\.classes": Range(2, 2**63 - 1, integer=True),
    r"data\.(slopes|intercepts)\.y[12]": ANY,
    r"data\.noise\.y[12]": Range(0),
    r"data\.(sigma|temperature)": POSITIVE,
    r"data\.(val|test|split\.val|split\.test)": Range(0, 1, open_low=True, open_high=True),
    r"data\.ink": Range(1, 16, integer=True),
    r"trainer\.(epochs|threads|patience|accumulate)|update\.every": COUNT,
    r"trainer\.devices": Range(1, 1024, integer=True),
    r"trainer\.timeout": POSITIVE,
    r"trainer\.clip": POSITIVE,
    r"trainer\.(warmup|checkpoint_every|evaluate_every)": NOT_NEGATIVE,
    r"trainer\.ema": SHARE_BELOW_1,
    r"optimizer\.lr": RATE,
    r"optimizer\.(momentum|weight_decay)": NOT_NEGATIVE,
    r"model\.(latent|features|depth)": COUNT,
    r"model\.width": Range(4, 2**63 - 1, integer=True),
    r"model\.dropout": SHARE_BELOW_1,
    r"(weighting|likelihood)\.lr": POSITIVE,
    r"(weighting|likelihood)\.init": LOG_SCALE,
    r"(weighting|likelihood)\.frozen": Range(1e-18, 1e18),
    r"weighting\.(momentum|decay)": SHARE_BELOW_1,
    r"weighting\.memory": SHARE,
    r"weighting\.rate": Range(0, 1, open_low=True),
    r"weighting\.every": COUNT,
    r"weighting\.(temperature|mu|weights|nadir|beta|shares|length)": POSITIVE,
    r"weighting\.(gamma|theta|penalty|alpha)": NOT_NEGATIVE,
    r"weighting\.warmup_epochs": COUNT,
    r"weighting\.base_epoch": COUNT,
    r"weighting\.reference": ANY,
    r"schedule\.patience": COUNT,
    r"schedule\.threshold": ANY,
    r"schedule\.min_delta": NOT_NEGATIVE,
    r"likelihood\.beta": SHARE,
}

# Keys for which the config says what null means.
NULL = re.compile(
    r"trainer\.(evaluate_every|patience|give_up|clip|lr_scheduler)|(weighting|likelihood)\.lr"
    r"|weighting\.(reference|nadir)|data\.(tasks|cache|features)|update\.groups"
    r"|schedule\.(order|proportions|threshold)"
    r"|weighting\.(decay|length)"
)
# Mappings for which nothing is a value: null and {} set no entry.
NOTHING = re.compile(
    r"data|model|trainer|optimizer|weighting|likelihood|update|schedule|record|weighting\.shares"
    r"|data\.(metrics|losses|slopes|intercepts|noise|targets|split)|optimizer\.parts|update\.groups"
    r"|update\.options|(weighting|likelihood)\.frozen|weighting\.(weights|init|reference|nadir)"
    r"|trainer\.give_up|likelihood\.init|schedule\.(start|until|knots|proportions|threshold)"
)
# Mappings {task: number}, whose other entries stay.
PER_TASK = {
    r"data\.(slopes|intercepts)": ANY,
    r"(weighting|likelihood)\.init": LOG_SCALE,
    r"weighting\.reference": ANY,
    r"schedule\.threshold": ANY,
}
# What single values mean.
VALUES: Mapping[tuple[str, str], str] = {
    (
        "trainer.accumulate",
        "'1'",
    ): "a number of parts may be written as text, like a number of rows",
    ("trainer.compile", "true"): "true is a word of its comment",
    ("trainer.compile", "false"): "false is a word of its comment",
    ("name", "null"): "a name is only a part of the directory's, which has a default",
    ("model.hidden", "[]"): "no hidden layer, a linear model",
    ("model.hidden", "[1,2,3]"): "widths of three layers",
    **{
        (f"trainer.{key}", "'1'"): "a time is a text, such as '1 epochs'"
        for key in ("warmup", "checkpoint_every", "evaluate_every")
    },
    ("data.features", "[]"): "no feature",
    ("data.cache", "../x"): "a folder that the run makes",
    ("data.cache", "text"): "a folder that the run makes",
    ("data.cache", "a.b"): "a folder that the run makes",
}


def number(text: str) -> float | int | None:
    """Return the number that an option's value is for Hydra; None if it is none."""
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", text):
        return float(text)
    return None


def _in_range(ranges: Mapping[str, Range], key: str, value: float | int) -> bool:
    return any(value in limits for keys, limits in ranges.items() if re.fullmatch(keys, key))


def _reason_of_option(case: WrongInput) -> str:
    key, value = case.key, case.value
    if key == "name" and not value.startswith(("[", "{", "$", "?", "nul")):
        return "the name of a run may be any text or number"
    if (key, value) in VALUES:
        return VALUES[key, value]
    if isinstance(case.default, bool) and value in ("true", "false"):
        return "true and false are what a switch takes"
    if value == "null" and NULL.fullmatch(key):
        return "null is what the config's comment allows"
    if value in ("{}", "null") and NOTHING.fullmatch(key):
        return "an empty mapping sets nothing"
    typed_number = number(value)
    if value == "{_target_: builtins.int}":
        typed_number = 0  # what the class makes
    if typed_number is not None and _in_range(RANGES, key, typed_number):
        return "a number in the range of its option"
    entry: Any = yaml.safe_load(value) if value == "{y1: -1}" else {}
    if entry and _in_range(PER_TASK, key, entry["y1"]):
        return "a task's number in the range of its option; the other tasks keep theirs"
    return ""


GROUPS_TO_CHOOSE: Mapping[str, str] = {
    **{
        f"{group}={{}}": "an empty mapping sets nothing"
        for group in (
            *("data", "model", "weighting", "update", "schedule", "likelihood", "optimizer"),
            "trainer",
        )
    },
}


# Tables. What comes out of one depends on its flaw, its name, the targets and the split.

UNREAD = r"The table 't\.[a-z.]+' cannot be read \("
NO_COLUMN = r"data\.targets: the table has no column"
LONGER_LINES = r"has lines with more fields than its header line"
NO_ROWS = r"has no rows under its header line"
ONE_CLASS = r"Task '\w+' has only one class"
NO_LABEL = r"Task '\w+' has no label in the \w+ split"
CATEGORIES = (
    r"Column '[abc]' (is a number in \d+ of \d+ rows, but row|holds no numbers but)"
    r"|Target '[abn]' is a classification of"
)

TEXT = Due(
    r"column '[abc]' (is a number in \d+ of \d+ rows, but row \d+ .*holds|holds no numbers but)",
    "a feature of texts is one of categories, and the run says which cell makes it one",
    CATEGORIES,
)
TOO_LARGE = Due(
    r"Column '[ab]' holds -?(inf|1e\+300) in row \d+",
    "any text is a class of a target that is said to be one",
    r"Target 'a' is a classification of",
)
MISSING = Due(
    NO_LABEL, "an empty cell, nan and the cells that a short line lacks are missing values"
)
CONSTANT = Due(ONE_CLASS, "a constant column tells nothing")
TWO_VALUES = Due(
    r"which is not a number", "two values are two classes, or numbers, as the target says"
)
NAMES = Due(NO_COLUMN, "a column may have any name; those that are asked for are there")
AS_IT_STANDS = Due(None, "the flaw leaves no doubt what the table holds")

TABLES: Mapping[str, Due] = {
    **{
        f"cell {text!r}": TEXT
        for text in (
            *("x", "12 %", "1 234", "12.30 EUR", "0x10", "2024-01-01", '"1,5"', "ü", "\x00"),
            *("\x1b[31m", "=1+1", "true", "?", " "),
        )
    },
    **{f"cell {text!r}": TOO_LARGE for text in ("inf", "-inf", "1e300", "1e400")},
    "cell 'nan'": MISSING,
    f"cell {chr(39) + '1,5' + chr(39)!r}": Due(UNREAD + r".*Expected 3 fields in line \d+, saw 4"),
    **{f"column {values}": MISSING for values in (("",), ("nan",))},
    **{f"column {values}": CONSTANT for values in (("1",), ("1e-300",), ("", "1"))},
    **{
        f"column {values}": Due(
            rf"{ONE_CLASS}|which is not a number", "a constant feature tells nothing"
        )
        for values in (("x",), ("", "x"))
    },
    **{
        f"column {values}": Due(rf"Column '[abc]' holds (inf|1e\+300) in row \d+|{ONE_CLASS}")
        for values in (("inf",), ("1e300",))
    },
    **{
        f"column {values}": TWO_VALUES
        for values in (
            *(("true", "false"), ("x",) * 59 + ("z",), ("1",) * 59 + ("2",), ("0", "1")),
            *(("2024-01-01", "2024-01-02"), ("1e38", "-1e38"), ("ü", "→"), ("1.5", "2.5")),
        )
    },
    "column ('12,5',)": Due(LONGER_LINES),
    **{
        f"header {header!r}": NAMES
        for header in (
            *(",b,c", "a,,c", "total,b,c", "a,total,c", "ä,b,c", "$a$,b,c", "a/b,c,d"),
            *("a.b,c,d", "'a',b,c", "a/log_variance,b,c", "../a,b,c", "<b>,b,c"),
        )
    },
    **{
        f"header {header!r}": Due(NO_COLUMN)
        for header in (",,", "a b,c d,e", "1,2,3", "A,B,C", " a, b, c")
    },
    **{f"header {header!r}": Due(LONGER_LINES) for header in ("a,b", "a;b;c", '"a,b",c')},
    **{
        f"header {header!r}": Due(r"has two columns called '[ab]'") for header in ("a,a,c", "a,b,b")
    },
    "header 'a,b,c,d'": Due(None, "the last column is empty, and tells nothing"),
    "line '1,2'": MISSING,
    "line ''": AS_IT_STANDS,
    "line ',,'": MISSING,
    **{f"line {line!r}": TEXT for line in ("# comment", "1;2;x", "a,b,c")},
    **{
        f"line {line!r}": Due(UNREAD + r".*Expected 3 fields in line \d+, saw 4")
        for line in ("1,2,x,4", "1,2,x,")
    },
    "line '\"1,2,x'": Due(UNREAD + r".*EOF inside string"),
    **{name: Due(UNREAD + r".*No columns to parse") for name in ("empty", "only newlines")},
    **{name: Due(rf"{NO_ROWS}|{NO_COLUMN}") for name in ("only a header", "JSON", "HTML")},
    "a few rows": Due(
        rf"{ONE_CLASS}|{NO_LABEL}|split of \d+ rows would be empty", "a few rows are rows"
    ),
    **{name: Due(NO_COLUMN) for name in ("no header", "spaces")},
    "semicolons": Due(rf"{NO_COLUMN}|The table 't\.[a-z.]+' has one column"),
    "tabs": Due(NO_COLUMN, "tabs are what separates in a .tsv"),
    **dict.fromkeys(
        (
            *("trailing commas", "trailing commas in rows", "carriage returns", "Windows"),
            *("byte order mark", "unchanged"),
        ),
        AS_IT_STANDS,
    ),
    "NUL": Due(None, "a category may be any text"),
    **{
        name: Due(r"The table 't\.[a-z.]+' is not written in utf-8; name its encoding")
        for name in ("UTF-16", "Latin-1")
    },
    "random bytes": Due(rf"{UNREAD}|{NO_ROWS}|{NO_COLUMN}|{LONGER_LINES}"),
    "cut off": MISSING,
    **{name: Due(UNREAD + ".*EOF inside string") for name in ("open quote", "quotes everywhere")},
    "decimal commas": TEXT,
}

FITS = Due(None, "the targets are columns of the table, of their kind")
NUMBERS_ONLY = "column|header"  # the flaws that can put other cells into a column
TARGETS: Mapping[str, Due] = {
    **dict.fromkeys(
        (
            *("[a]", "[a,b]", "[c]", "{a: regression, c: classification}", "{b: regression}"),
            *("{a: regression, b: regression}", "{a: regression_l1}"),
            "[{name: n, column: a, kind: regression}]",
        ),
        FITS,
    ),
    "[{name: n, column: c, kind: classification, positive: x}]": Due("positive", FITS.accepted),
    "{a: classification}": Due(
        ONE_CLASS, "whatever is said to be a class is one", "", NUMBERS_ONLY + "|."
    ),
    "[a,b,c]": Due(
        "No feature column is left",
        "a fourth column is the feature",
        "",
        "trailing commas$|header 'a,b,c,d'",
    ),
    "{c: regression}": Due(
        r"column 'c' holds .*, which is not a number|column 'c' is a number in",
        FITS.accepted,
        "",
        NUMBERS_ONLY,
    ),
    "{a: multilabel}": Due(
        r"multilabel and has values other than 0 and 1|which is not a number|a number in \d+ of",
        FITS.accepted,
        "",
        NUMBERS_ONLY,
    ),
    **{f"{{a: {kind}}}": Due("unknown kind") for kind in ("direction", "term", "1")},
    **dict.fromkeys(("[z]", "[{name: n}]", "[1]", "[[a]]", "[null]"), Due(NO_COLUMN)),
    "{a: null}": Due(r"data\.targets must be a mapping"),
    "[a,a]": Due("Two tasks are called 'a'"),
    "[{column: a}]": Due("has no name; write"),
    "a": Due("data.targets='a' must be a mapping"),
    "[{name: total, column: a, kind: regression}]": Due("A task cannot be called 'total'"),
    "[{name: n, colum: a}]": Due("unknown option 'colum'"),
    "{'': regression}": Due("cannot be parsed"),
}

SPLITS: Mapping[str, Due] = {
    **dict.fromkeys(
        ("{val: .9, test: .9}", "{val: 0, test: .1}", "{val: nan, test: nan}"),
        Due("data.split fractions must lie between 0 and 1"),
    ),
    "{val: -.1, test: .2}": Due("data.split (fractions must lie|.*is not understood)"),
    "{column: c}": Due("says which split a row is in, but holds|data.split.column='c'"),
    "{column: z}": Due("data.split.column='z' is not a column"),
    **dict.fromkeys(
        ("{folds: 1}", "{val: t.csv}", "{val: text}", "{a: 1}"),
        Due("data.split.* is not understood"),
    ),
    **dict.fromkeys(
        ("{folds: 3, fold: 3}", "{folds: x, fold: y}"), Due("data.split needs folds >= 3")
    ),
    "{folds: 3, fold: 0}": Due(None, "three folds are the least there may be"),
    "{folds: 100, fold: 1}": Due(
        "split is empty|would be empty|folds", "a fold of one row is the smallest there may be"
    ),
    "{val: no.csv, test: no.csv}": Due("There is no file 'no.csv'"),
    "{val: t.csv, test: t.csv}": Due("data.split: .* is the table of the training rows"),
    **dict.fromkeys(("[1]", "text"), Due("data.split must be a mapping")),
}

TABLE_NAMES: Mapping[str, Due] = {
    "t.csv": Due(None, "a CSV", "", "^(?!tabs)"),
    "t.tsv": Due(rf"{NO_COLUMN}|{UNREAD}|{NO_ROWS}|{LONGER_LINES}", "a TSV", "", "^tabs$"),
    "t.csv.gz": Due(UNREAD),
    "t.parquet": Due(UNREAD),
}


def _dues_of_table(case: WrongInput) -> list[Due]:
    typed = dict(option.split("=", 1) for option in case.options)
    dues = [
        TABLES[case.key],
        TABLE_NAMES[typed["data.path"]],
        TARGETS[typed["data.targets"]],
    ]
    return dues + ([SPLITS[typed["data.split"]]] if "data.split" in typed else [])


# Datasets: `statement` or `statement; self.tasks = [Task('a', kind), Task('b')]`.

_OF_NUMBERS = (
    r"; self\.tasks = \[Task\('a', '(regression|regression_l1|direction)'\), Task\('b'\)\]"
)
_EACH = r"for s in self\.splits: self\.splits\[s\] = cut\(n\); self\.splits\[s\]\.targets\['a'\] = "
_A_NUMBER = (
    r"(torch\.zeros\(n\)|-?torch\.(zeros|ones)\(n, dtype=torch\.(long|bool|uint8)\)|torch\.arange\(n\)"
    r"|torch\.zeros\(n, requires_grad=True\))"
)

DATASETS: Mapping[str, str] = {
    rf"self\.splits\['val'\] = cut\(1\)({_OF_NUMBERS})?": "one row is a row",
    rf"self\.splits\['more'\] = None({_OF_NUMBERS})?": "a split beside the three is not read",
    r"self\.tasks = (tuple|iter)\(self\.tasks\)": "any sequence of tasks is one",
    r"self\.tasks\[0\] = Task\('a', (classes|class_weights)=\(.*\)\)": (
        "regression has no classes to name or to weigh"
    ),
    r"self\.tasks\[0\] = Task\('a', (missing=3|trivial='x'|places=3|size=7)\)": (
        "the data fill in these fields"
    ),
    rf"self\.splits\['(val'\]\.targets\['a|test'\]\.targets\['b)'\] = {_A_NUMBER}({_OF_NUMBERS})?": (
        "numbers of another type, or without a dimension of their own, are the same numbers"
    ),
    rf"{_EACH}({_A_NUMBER}|torch\.full\(\(n, 3\), 1e30\))({_OF_NUMBERS})?": (
        "numbers of any type and size"
    ),
    rf"{_EACH}torch\.zeros\(n(, dtype=torch\.(long|uint8)|, requires_grad=True)?\)"
    r"; .*'multilabel'.*": "0 is a label that no row has",
    rf"{_EACH}torch\.ones\(n, dtype=torch\.bool\); .*'(multilabel|classification)'.*": (
        "true and false are labels, and classes 0 and 1"
    ),
    rf"{_EACH}torch\.arange\(n\); .*'classification'.*": "twenty classes",
    rf"self\.splits\['val'\]\.masks = (\{{\}}|dict\(a=torch\.ones\(n, dtype=torch\.bool\)\))({_OF_NUMBERS})?": (
        "no mask, or one that hides nothing"
    ),
    rf"self\.preprocessing = (None|\{{\}}|\{{'a': 1\}}|\{{'a': torch\.zeros\(n, 3\)\}})({_OF_NUMBERS})?": (
        "what is kept for predictions may hold plain values and tensors"
    ),
    rf"for s in self\.splits: self\.splits\[s\] = cut\(n, inputs=torch\.(zeros\(n, 0\)|zeros\(n, 3, 3\)|full\(\(n, 3\), 1e30\))\)({_OF_NUMBERS})?": (
        "inputs of any shape and size"
    ),
    rf"self\.splits\['val'\]\.inputs = torch\.full\(\(n, 3\), 1e30\)({_OF_NUMBERS})?": (
        "large numbers are numbers"
    ),
}

_TASK = r"[Tt]asks? |[Tt]ask '|[Tt]arget|[Cc]lass|label"
NAMES_IN_DATASETS: Mapping[str, str] = {
    r"raise|1 / 0|import nowhere|assert|open\(|torch\.zeros\(3\)\[7\]": (
        r"raised in mine\.py, line \d+|Out of memory|nowhere|no file|No such file"
    ),
    r"exit\(3\)": "exit",
    r"del self": r"no attribute '(tasks|splits)'|no split 'val'",
    r"\['val'\] = cut\(0\)": r"val split is empty",
    r"^self\.tasks\[0\] = Task\('a', ": (
        r"Task 'a'|Task\.__init__|unexpected keyword argument 'nope'|loss of task 'a'|raised in mine"
    ),
    r"preprocessing = ": r"`?preprocessing`? |" + _TASK,
    r"masks = ": r"[Mm]asks? |" + _TASK,
    r"inputs": r"[Ii]nputs? |" + _TASK,
    r"splits": r"splits?\b|" + _TASK,
    r"": _TASK,
}


# Models and classes of the user.

CLASSES: Mapping[str, str] = {
    "{'y1': a, 'y2': b}": "it is right",
    "{'y1': a, 'y2': b, 'y3': b}": "an output more than there are tasks",
    "{'y1': a, 'y2': b.double()}": "another precision of the same numbers",
    "optimizer torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=1)": (
        "an optimizer, which a function makes"
    ),
}
NAMES_IN_CLASSES = (
    r"_target_ made an? |[Tt]he model|[Tt]ask 'y[12]'|[Tt]he weighting|[Tt]he optimizer|optimizer"
    r"|raised in mine\.py, line \d+"
)
