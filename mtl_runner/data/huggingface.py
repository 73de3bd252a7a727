"""Datasets of Hugging Face on disk (``save_to_disk``) as multi-task problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mtl_runner.config.extras import import_extra
from mtl_runner.data.dataset import SPLITS
from mtl_runner.data.image_folder.image_folder import unfitted_targets
from mtl_runner.data.image_folder.items import ImageItems
from mtl_runner.data.image_folder.options import LOOKED_AT, augmentation, image_reader
from mtl_runner.data.table.splits import split_frame
from mtl_runner.data.table.table import DEFAULT_SPLIT
from mtl_runner.errors import ConfigError, DataError, suggest
from mtl_runner.errors.checks import flag, whole_number
from mtl_runner.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

# What splits are called on the hub.
NAMES = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
ROW = "__row__"  # where a row of the table lies in its dataset


class HuggingFaceDataset:
    """Columns of a saved Hugging Face dataset as inputs and targets.

    An image column is read and augmented as in ``data=image_folder``. Columns of numbers, or of
    lists of them of one length, become tensors; several inputs become a dict, so that
    ``data.inputs=[input_ids, attention_mask]`` of tokenized, padded texts suit an encoder of
    Hugging Face.

    Args:
        path: The folder that ``save_to_disk`` wrote: a dataset, or several of them by split. A
            split ``validation`` is the split ``val``; those that are not there are cut from
            ``train``.
        inputs: The column of the inputs, or a list of them.
        targets: As in ``data=table``; the classes of a ``ClassLabel`` keep their names.
        size: As in ``data=image_folder``, for images.
        augment: Likewise.
        normalize: Likewise.
        channels: Likewise.
        split: As in ``data=table``; used where the dataset has no such splits.
        scale_targets: Whether numeric targets get mean 0 and standard deviation 1.
        seed: Seed of the split.

    Raises:
        ConfigError: If an option is impossible, or a package is not installed.
        DataError: If there is no such dataset, or an input is neither an image nor numbers.

    Example:
        >>> from mtl_runner.data import HuggingFaceDataset
        >>> data = HuggingFaceDataset("saved", "image", ["label"])  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | None,
        inputs: str | Sequence[str] | None,
        targets: Mapping[str, Any] | Sequence[Any] | None,
        size: Any = "auto",
        augment: Any = "auto",
        normalize: Any = "imagenet",
        channels: int = 3,
        split: Mapping[str, Any] = DEFAULT_SPLIT,
        scale_targets: bool = True,
        seed: int = 0,
    ) -> None:
        datasets = import_extra("datasets", "hf", "data=hf")
        flag(scale_targets, "data.scale_targets")
        whole_number(seed, "data.seed", 0)
        if path is None or not inputs or not targets:
            raise ConfigError(
                "data=hf needs data.path, data.inputs and data.targets, e.g. data.path=./saved data.inputs=image data.targets='{label: classification}'."
            )
        columns = [inputs] if isinstance(inputs, str) else list(inputs)
        parts = _read(datasets, path)
        for column in columns:
            if column not in parts["train"].column_names:
                raise ConfigError(
                    f"data.inputs names {column!r}, which is no column of the dataset; {suggest(column, parts['train'].column_names)}."
                )
        sources, frames = _splits(datasets, parts, columns, split, seed)
        entries = (
            [{"name": name, "kind": kind} for name, kind in targets.items()]
            if isinstance(targets, Mapping)
            else list(targets)
        )
        fitted = [target.fit(frames, scale_targets) for target in unfitted_targets(entries, frames)]
        self.tasks: list[Task] = [target.task for target in fitted]
        self.preprocessing: dict[str, Any] | None = None
        rows = {name: (sources[name], frame[ROW].to_numpy()) for name, frame in frames.items()}
        values = {
            name: {target.task.name: target.values(frame) for target in fitted}
            for name, frame in frames.items()
        }
        if isinstance(parts["train"].features[columns[0]], datasets.Image):
            if len(columns) > 1:
                raise ConfigError("data.inputs with an image must be that one column.")
            pictures = {name: Pictures(*rows[name], columns[0]) for name in SPLITS}
            train = pictures["train"]
            reader = image_reader(
                size,
                channels,
                normalize,
                lambda: [train(i).size[::-1] for i in range(min(LOOKED_AT, len(train)))],
            )
            changes = augmentation(augment, reader.size)
            self.preprocessing = {"images": reader.state()}
            self.splits: dict[str, Any] = {
                name: ImageItems(
                    pictures[name],
                    reader,
                    values[name],
                    augmentation=changes if name == "train" else None,
                    count=len(pictures[name]),
                )
                for name in SPLITS
            }
        else:
            self.splits = {name: Rows(*rows[name], columns, values[name]) for name in SPLITS}


class Pictures:
    """The images of some rows of a dataset, by index.

    Args:
        dataset: The dataset of Hugging Face.
        rows: Positions of the rows.
        column: The column of the images.
    """

    def __init__(self, dataset: Any, rows: np.ndarray, column: str) -> None:
        self.dataset, self.rows, self.column = dataset.select_columns([column]), rows, column

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, index: int) -> Any:
        """Return an image of Pillow.

        Raises:
            DataError: If there is none, or it cannot be decoded.
        """
        row = int(self.rows[index])
        try:
            image = self.dataset[row][self.column]
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"column {self.column!r} of row {row} cannot be decoded ({reason})."
            ) from error
        if image is None:
            raise DataError(f"column {self.column!r} of row {row} holds no image.")
        return image


class Rows(torch.utils.data.Dataset[Any]):
    """The numbers of some rows of a dataset, with their targets.

    Args:
        dataset: The dataset of Hugging Face.
        rows: Positions of the rows.
        columns: The columns of the inputs.
        targets: All targets, by task.
    """

    def __init__(
        self,
        dataset: Any,
        rows: np.ndarray,
        columns: Sequence[str],
        targets: Mapping[str, np.ndarray],
    ) -> None:
        self.dataset, self.rows, self.columns = dataset.select_columns(list(columns)), rows, columns
        self._targets = {name: torch.as_tensor(values) for name, values in targets.items()}

    def __len__(self) -> int:
        return len(self.rows)

    def targets(self) -> dict[str, torch.Tensor]:
        """Return all targets, by task."""
        return self._targets

    def __getitem__(self, index: int) -> tuple[Any, dict[str, torch.Tensor]]:
        row = self.dataset[int(self.rows[index])]
        inputs = {column: _numbers(row[column], column) for column in self.columns}
        targets = {name: values[index] for name, values in self._targets.items()}
        return (inputs if len(inputs) > 1 else next(iter(inputs.values()))), targets


def _numbers(value: Any, column: str) -> torch.Tensor:
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"column {column!r} holds {_short(value)}, which is neither an image nor numbers; tokenize a text first, to lists of one length."
        ) from None
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _read(datasets: Any, path: str) -> dict[str, Any]:
    """Return the datasets of a folder by the names of our splits; ``train`` is always there."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"data.path={path!r} is not a folder (looked in {folder.absolute().parent}); set it to what save_to_disk wrote."
        )
    try:
        loaded = datasets.load_from_disk(str(folder))
    except (FileNotFoundError, ValueError, KeyError, OSError) as error:
        raise DataError(
            f"data.path={path!r} holds no dataset of Hugging Face; write one there with dataset.save_to_disk({path!r})."
        ) from error
    if not isinstance(loaded, Mapping):
        return {"train": loaded}
    parts = {NAMES[name]: part for name, part in loaded.items() if name in NAMES}
    if "train" not in parts:
        raise DataError(
            f"The dataset at {path!r} has the splits {', '.join(map(repr, loaded))}; one must be called 'train'."
        )
    return parts


def _splits(
    datasets: Any,
    parts: Mapping[str, Any],
    columns: Sequence[str],
    split: Mapping[str, Any],
    seed: int,
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Return the dataset that each split is read from, and the table of its targets."""
    tables = {name: _table(datasets, part, columns) for name, part in parts.items()}
    missing = [name for name in SPLITS if name not in parts]
    sources = {name: parts.get(name, parts["train"]) for name in SPLITS}
    if len(missing) == 2:
        return sources, split_frame(tables["train"], dict(split or DEFAULT_SPLIT), seed)
    if missing:
        fraction = (split or DEFAULT_SPLIT).get(missing[0], DEFAULT_SPLIT[missing[0]])
        order = np.random.default_rng(seed).permutation(len(tables["train"]))
        count = round(len(order) * fraction) if isinstance(fraction, float) else 0
        if not 0 < count < len(order):
            raise ConfigError(
                f"data.split.{missing[0]} must be the share of the train split that becomes {missing[0]}, e.g. 0.15; found {fraction!r}."
            )
        train = tables["train"]
        tables[missing[0]], tables["train"] = train.iloc[order[:count]], train.iloc[order[count:]]
    return sources, tables


def _table(datasets: Any, part: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Return the columns that are no inputs, with the names of classes and the rows' places."""
    import pandas as pd

    names = [
        name
        for name, feature in part.features.items()
        if name not in columns and not isinstance(feature, datasets.Image | datasets.Audio)
    ]
    frame: pd.DataFrame = part.select_columns(names).to_pandas() if names else pd.DataFrame()
    for name in names:
        feature = part.features[name]
        if isinstance(feature, datasets.ClassLabel):
            # -1 stands for no label there.
            frame[name] = [
                None if pd.isna(label) or label < 0 else feature.names[int(label)]
                for label in frame[name]
            ]
    return frame.assign(**{ROW: np.arange(len(part))})
