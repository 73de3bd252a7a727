"""``mtl-predict``: the answers of a trained model to new rows, images or arrays, as a table."""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from mtl_runner.config.working_directory import search_working_directory
from mtl_runner.data.image_folder.files import FILE, SUFFIXES
from mtl_runner.data.table.files import columns_as_written, read_table
from mtl_runner.errors import ConfigError, DataError, suggest
from mtl_runner.errors.command_line import CommandParser
from mtl_runner.files import write_atomic
from mtl_runner.runs.answers import describe_answer
from mtl_runner.runs.predictor import Predictor, load
from mtl_runner.runs.records import CONFIG, read_config

if TYPE_CHECKING:
    import pandas as pd

INTERVAL = 0.95
DATA_OPTION = re.compile(r"data\.(read(\.\w+)?|files|path)=")
ARRAYS = (".npy", ".npz")
TABLES = (".csv", ".gz", ".tsv", ".txt", ".parquet")
NAMED = 5  # so many unknown categories are named


def main(arguments: Sequence[str]) -> None:
    """Parse the arguments, answer, and write or print the table.

    Raises:
        MtlError: If the run cannot be loaded, or the input does not suit its model.
    """
    options = _parser().parse_args(arguments)
    run, output = Path(options.run), options.output
    names = [word for word in options.input if not DATA_OPTION.match(word)]
    data_options = [word for word in options.input if DATA_OPTION.match(word)]
    paths = _existing(names)
    if output is not None and output.exists() and any(output.samefile(path) for path in paths):
        raise ConfigError(f"-o {output} is the file that is read; give another name.")
    if options.trust:
        search_working_directory()
    predictor = load(run, options.device, options.trust)
    tasks = [task for task in predictor.tasks if not task.places]
    dense = [task.name for task in predictor.tasks if task.places]
    if not tasks:
        raise DataError(
            f"Task {dense[0]!r} answers every pixel, which no table holds; use mtl_runner.load({str(run)!r}).predict in Python."
        )
    question = _question(predictor, paths, _data_options(run, data_options), options.keep)
    if dense:
        _tell(f"Left out, since no table holds an answer per pixel: {', '.join(dense)}.")
    frame = _answers(predictor, question, options)
    if output is None:
        print(frame.to_csv(index=False), end="")
        return
    _write(frame, output)
    answers = "; ".join(f"{task.name}: {describe_answer(task)}" for task in tasks)
    print(f"{len(frame):,} row{'s' * (len(frame) != 1)} ({answers})\n{output}")


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="mtl-predict",
        description="The answers of a trained model to new data, as CSV: the row of the input, its identifier columns or files, and for each task the answer, probabilities, sigma and the ends of an interval.",
        epilog="Example: mtl-predict outputs/my_run new.csv -o answers.csv",
    )
    parser.add_argument("run", metavar="RUN", help="the run directory, as mtl-run printed it")
    parser.add_argument(
        "input",
        nargs="+",
        metavar="INPUT",
        help="a table (.csv, .tsv, .parquet); for a model of images also image files or a folder of them; for a model of tensors .npy or .npz; then how a table is written, as in mtl-run: data.read.sep=';'",
    )
    parser.add_argument("-o", "--output", type=Path, help="where to write (.csv or .parquet)")
    parser.add_argument(
        "--keep",
        metavar="COLUMNS",
        help="columns of the input to keep, as a,b or 'all'; default: those that identify a row",
    )
    parser.add_argument(
        "--interval",
        type=float,
        help=f"the share of new targets that an interval is to hold; default: {INTERVAL} where a noise scale was learned",
    )
    parser.add_argument(
        "--plain", action="store_true", help="the answers alone, without probabilities and noise"
    )
    parser.add_argument("--device", default="cpu", help="where to compute, e.g. cuda")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package or module of your own whose code the model needs; may be repeated",
    )
    return parser


class Question:
    """New data, and what identifies its rows.

    Attributes:
        x: What ``predict`` takes.
        kept: The columns of the input that stay beside the answers.
    """

    def __init__(self, x: Any, kept: Mapping[str, Sequence[Any]]) -> None:
        self.x, self.kept = x, dict(kept)


def _question(
    predictor: Predictor, paths: Sequence[Path], data: Mapping[str, Any], keep: str | None
) -> Question:
    """Return the new data as the model takes it."""
    if predictor.features is not None:
        frame = _table(paths, data)
        _tell_of_unknown_categories(predictor, frame)
        identifiers = [name for name in predictor.identifiers if name in frame]
        return Question(frame, _kept(frame, identifiers, keep, paths[0], data))
    if predictor.image_reader is not None:
        return _images(paths, data, keep)
    if len(paths) != 1 or paths[0].suffix not in ARRAYS:
        raise DataError(
            f"This model takes {predictor.describe_inputs()}; give one .npy file, or an .npz file with an array per input."
        )
    return _arrays(paths[0], predictor)


def _table(paths: Sequence[Path], data: Mapping[str, Any]) -> pd.DataFrame:
    if len(paths) > 1 or not paths[0].is_file():
        raise DataError(
            f"This model takes the rows of one table, .csv or .parquet; found {', '.join(map(str, paths))}."
        )
    return read_table(str(paths[0]), data.get("read"))


def _images(paths: Sequence[Path], data: Mapping[str, Any], keep: str | None) -> Question:
    """Return image files: given themselves, those of a folder, or those that a table names."""
    if len(paths) == 1 and paths[0].is_file() and paths[0].suffix.lower() in TABLES:
        frame = read_table(str(paths[0]), data.get("read"))
        column = str(data.get("files") or FILE)
        if column not in frame.columns:
            raise DataError(
                f"The table {str(paths[0])!r} has no column {column!r} that names the image files; {suggest(column, frame.columns)}."
            )
        folders = [Path(str(data["path"]))] if "path" in data else [paths[0].parent, Path()]
        named = [_place(name, folders) for name in frame[column].astype(str)]
        return Question(named, _kept(frame, [column], keep, paths[0], data))
    files: list[str] = []
    for path in paths:
        inside = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
        if path.is_dir() and not inside:
            raise DataError(
                f"The folder {str(path)!r} holds no images ({', '.join(SUFFIXES[:3])}, ...)."
            )
        files += map(str, inside if path.is_dir() else [path])
    return Question(files, {FILE: files})


def _place(name: str, folders: Sequence[Path]) -> str:
    """Return where an image of a table lies."""
    for folder in folders:
        if (folder / name).is_file():
            return str(folder / name)
    places = " and ".join(dict.fromkeys(str(folder.absolute()) for folder in folders))
    raise DataError(
        f"There is no image file {name!r} (looked in {places}); set data.path to the folder that the names start from."
    )


def _arrays(path: Path, predictor: Predictor) -> Question:
    import numpy as np
    import torch

    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = dict(loaded) if path.suffix == ".npz" else {"": loaded}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
    except (ValueError, OSError, TypeError) as error:
        raise DataError(
            f"The file {str(path)!r} cannot be read ({str(error).splitlines()[0].rstrip('.')}); it should hold arrays of numbers, as numpy.save writes them."
        ) from error
    default = torch.get_default_dtype()
    tensors = {n: t.to(default) if t.dtype == torch.float64 else t for n, t in tensors.items()}
    shape = predictor.input_shape
    expected = shape if isinstance(shape, dict) else {"": shape}
    for name, sizes in expected.items():
        row_shape = tuple(tensors[name].shape[1:]) if name in tensors else None
        if sizes is not None and row_shape != tuple(sizes):
            raise DataError(
                f"The model takes {predictor.describe_inputs()}, but {str(path)!r} holds {_shapes(tensors)}."
            )
    rows = len(next(iter(tensors.values())))
    device = next(predictor.model.parameters()).device
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    return Question(tensors if isinstance(shape, dict) else tensors[""], {"row": range(rows)})


def _shapes(tensors: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {list(t.shape)}".strip() for name, t in tensors.items()) or "nothing"


def _kept(
    frame: pd.DataFrame,
    identifiers: Sequence[str],
    keep: str | None,
    path: Path,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the row of each answer, and the columns that stay beside it, as the file has them."""
    if keep is None:
        names = list(identifiers)
    elif keep == "all":
        names = [str(name) for name in frame.columns]
    else:
        names = list(dict.fromkeys([*identifiers, *keep.split(",")]))
    for name in names:
        if name not in frame.columns:
            raise ConfigError(
                f"--keep names {name!r}, which is no column of the table; {suggest(name, frame.columns)}."
            )
    kept = columns_as_written({name: frame[name] for name in names}, str(path), data.get("read"))
    return {"row": range(len(frame)), **kept}


def _answers(predictor: Predictor, question: Question, options: argparse.Namespace) -> pd.DataFrame:
    import pandas as pd

    interval = options.interval
    if interval is None and not options.plain and predictor.has_noise_scales:
        interval = INTERVAL
    answers = predictor.predict_table(
        question.x, probabilities=not options.plain, interval=interval
    )
    columns = {
        # The target of a task, kept beside the answer of the same name.
        (f"{name}.target" if name in answers.columns else name): list(values)
        for name, values in question.kept.items()
    }
    return pd.concat([pd.DataFrame(columns), answers.reset_index(drop=True)], axis=1)


def _tell_of_unknown_categories(predictor: Predictor, frame: pd.DataFrame) -> None:
    assert predictor.features is not None
    for column, (rows, values) in predictor.features.unknown_categories(frame).items():
        dots = ", ..." if len(values) > NAMED else ""
        _tell(
            f"Column {column!r} holds categories that the training rows do not have, in {rows} row{'s' * (rows != 1)} ({', '.join(values[:NAMED])}{dots}); they are treated as missing."
        )


def _data_options(run: Path, options: Sequence[str]) -> dict[str, Any]:
    """Return how the run's own table was read, changed by what the command line says.

    Interpolations stay text: a config of somebody else's is read, and nothing in it is run.
    """
    recorded: dict[str, Any] = {}
    if (run / CONFIG).exists():
        config: Any = OmegaConf.to_container(read_config(run), resolve=False)
        node = config.get("data")
        if isinstance(node, dict):
            recorded = {key: node.get(key) for key in ("read", "files")}
    if not isinstance(recorded.get("read"), dict):
        recorded["read"] = {}
    for option in options:
        given = OmegaConf.to_container(OmegaConf.from_dotlist([option]))
        assert isinstance(given, dict)
        for name, setting in given["data"].items():
            if name == "read" and not isinstance(setting, dict):
                raise ConfigError(
                    f"data.read must be a mapping, e.g. {{sep: ;, encoding: latin-1}}; found {setting!r}."
                )
            recorded[name] = {**recorded["read"], **setting} if name == "read" else setting
    return recorded


def _existing(names: Sequence[str]) -> list[Path]:
    paths = [Path(name).expanduser() for name in names]
    for path in paths:
        if not path.exists():
            raise DataError(f"There is no file or folder {str(path)!r}.")
    if not paths:
        raise ConfigError("mtl-predict needs an input after the run, e.g. new.csv.")
    return paths


def _write(frame: pd.DataFrame, path: Path) -> None:
    if path.suffix != ".parquet":
        write_atomic(path, frame.to_csv(index=False).encode())
        return
    buffer = io.BytesIO()
    try:
        frame.to_parquet(buffer, index=False)
    except ImportError:
        raise ConfigError(
            "Writing .parquet needs pyarrow; install it with: pip install 'mtl-runner[parquet]'."
        ) from None
    write_atomic(path, buffer.getvalue())


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)
