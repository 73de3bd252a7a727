"""The cost of training on image files: ``python scripts/benchmark --images``.

A folder of generated JPEG files, two tasks, one small convolutional network. Four loops train it
with the same images, augmentation, batch size, loss and optimizer, and validate after every epoch:
one written by hand that records nothing, Lightning with its CSV logger, and mtl-runner over the
same dataset object and over ``data=image_folder``.
"""

from __future__ import annotations

import contextlib
import csv
import gc
import importlib.util
import itertools
import logging
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tables import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mtl_runner import Task
from mtl_runner.config.extras import import_extra

SIZE, CLASSES, BATCH, EPOCHS = 64, 4, 64, 4
TRAINING, VALIDATION, TEST = 1000, 64, 64
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
RATE = 1e-3

#: Trains from the start to the end.
Training = Callable[[], None]


def write_photos(folder: Path) -> None:
    """Write JPEG files and ``labels.csv``: the colour of a square (a class) and its size."""
    import numpy as np

    image_module = import_extra("PIL.Image", "images", "--images")
    random = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "colour", "extent", "split"])
        for i in range(TRAINING + VALIDATION + TEST):
            pixels = random.integers(0, 90, (SIZE, SIZE, 3), dtype=np.uint8)
            colour, side = int(random.integers(CLASSES)), int(random.integers(8, 40))
            top, left = random.integers(0, SIZE - side, 2)
            pixels[top : top + side, left : left + side] += np.uint8(
                [(140, 0, 0), (0, 140, 0), (0, 0, 140), (140, 140, 0)][colour]
            )
            image_module.fromarray(pixels).save(folder / f"{i:05}.jpg", quality=90)
            split = "train" if i < TRAINING else "val" if i < TRAINING + VALIDATION else "test"
            writer.writerow([f"{i:05}.jpg", f"colour {colour}", f"{side / 10 - 2.4:.2f}", split])


class Photos(Dataset[Any]):
    """The images of a split in a usual class: decoded by Pillow, cropped and flipped.

    Args:
        folder: The folder of :func:`write_photos`.
        split: ``train``, ``val`` or ``test``.
    """

    def __init__(self, folder: Path, split: str) -> None:
        v2 = import_extra("torchvision.transforms.v2", "images", "--images")
        self.open = import_extra("PIL.Image", "images", "--images").open
        with (folder / "labels.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == split]
        self.files = [folder / row["file"] for row in rows]
        self.colours = [int(row["colour"].removeprefix("colour ")) for row in rows]
        self.extents = [float(row["extent"]) for row in rows]
        augmentation = [
            v2.RandomResizedCrop(SIZE, scale=(0.6, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
        ]
        self.transform = v2.Compose(
            [
                v2.PILToTensor(),
                *(augmentation if split == "train" else []),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(*IMAGENET),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def targets(self) -> dict[str, Tensor]:
        """Return all targets, by task."""
        return {"colour": torch.tensor(self.colours), "extent": torch.tensor(self.extents)}

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        with self.open(self.files[index]) as image:
            picture = self.transform(image.convert("RGB"))
        return picture, {"colour": self.colours[index], "extent": self.extents[index]}


class PhotoData:
    """The dataset of mtl-runner over :class:`Photos`."""

    def __init__(self, path: str) -> None:
        self.tasks = [Task("colour", "classification"), Task("extent", "regression")]
        self.splits = {split: Photos(Path(path), split) for split in ("train", "val", "test")}


class SmallNet(nn.Module):
    """Four convolutions and a linear head per task.

    Args:
        tasks: The tasks of mtl-runner; None: those of :class:`PhotoData`.
        input_shape: Not used.
    """

    def __init__(self, tasks: Any = None, input_shape: Any = None) -> None:  # noqa: ARG002
        super().__init__()
        widths = (3, 16, 32, 64, 64)
        blocks = [
            nn.Sequential(
                nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
            for before, width in itertools.pairwise(widths)
        ]
        self.trunk = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.heads = nn.ModuleDict(
            {"colour": nn.Linear(widths[-1], CLASSES), "extent": nn.Linear(widths[-1], 1)}
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the outputs by task."""
        features = self.trunk(images)
        return {name: head(features) for name, head in self.heads.items()}


def task_losses(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> list[Tensor]:
    """Return the losses of both tasks: cross-entropy and the squared error."""
    errors = outputs["extent"].squeeze(1) - targets["extent"].float()
    return [F.cross_entropy(outputs["colour"], targets["colour"]), (errors**2).mean()]


def plain(folder: Path, workers: int) -> Training:
    """Return a loop written by hand, which records nothing."""
    network = SmallNet()
    splits = {split: Photos(folder, split) for split in ("train", "val")}
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)

    def train() -> None:
        loader = DataLoader(splits["train"], batch_size=BATCH, shuffle=True, num_workers=workers)
        validation = DataLoader(splits["val"], batch_size=VALIDATION, num_workers=workers)
        for _ in range(EPOCHS):
            network.train()
            for images, targets in loader:
                loss = sum(task_losses(network(images), targets))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[union-attr]
                optimizer.step()
            network.eval()
            with torch.no_grad():
                for images, targets in validation:
                    task_losses(network(images), targets)

    return train


def lightning(folder: Path, workers: int) -> Training:
    """Return a training of Lightning that writes the losses of every step with its CSV logger."""
    # No package of an extra: only this benchmark knows it.
    lightning = importlib.import_module("lightning.pytorch")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = SmallNet()

        def training_step(self, batch: Any) -> Tensor:
            losses = task_losses(self.network(batch[0]), batch[1])
            loss: Tensor = losses[0] + losses[1]
            self.log_dict(
                {"train/loss": loss, "train/colour": losses[0], "train/extent": losses[1]}
            )
            return loss

        def validation_step(self, batch: Any) -> None:
            losses = task_losses(self.network(batch[0]), batch[1])
            self.log_dict({"val/colour": losses[0], "val/extent": losses[1]})

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=RATE, fused=True)

    module = Module()
    splits = {split: Photos(folder, split) for split in ("train", "val")}

    def train() -> None:
        with tempfile.TemporaryDirectory() as directory:
            trainer = lightning.Trainer(
                max_epochs=EPOCHS,
                accelerator="cpu",
                logger=lightning.loggers.CSVLogger(directory),
                log_every_n_steps=1,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
            )
            trainer.fit(
                module,
                DataLoader(splits["train"], batch_size=BATCH, shuffle=True, num_workers=workers),
                DataLoader(splits["val"], batch_size=VALIDATION, num_workers=workers),
            )

    return train


def ours(folder: Path, workers: int, from_files: bool) -> Training:
    """Return mtl-runner's training, with everything that it records and its checkpoints.

    Args:
        folder: The folder of the images.
        workers: Number of data workers.
        from_files: Whether ``data=image_folder`` reads the files, not :class:`Photos`.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from mtl_runner.config.conf_directory import conf_directory
    from mtl_runner.experiment.build import build
    from mtl_runner.train.trainer import Trainer

    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = compose(
            "config",
            [
                "data=image_folder",
                f"data.path={folder}",
                f"data.labels={folder / 'labels.csv'}",
                "data.scale_targets=false",
                f"data.batch_size={BATCH}",
                f"data.loader.workers={workers}",
                "weighting=fixed",
                f"optimizer.lr={RATE}",
                f"trainer.epochs={EPOCHS}",
                "trainer.device=cpu",
                "trainer.threads=1",
                "record.plots=none",
                "name=benchmark",
            ],
        )
    OmegaConf.set_struct(config, False)
    config.data.targets = {"colour": "classification", "extent": "regression"}
    config.data.split = {"column": "split"}
    config.model = {"_target_": f"{__name__}.SmallNet"}
    if not from_files:
        kept = ("batch_size", "tasks", "metrics", "steps_per_epoch", "loader", "losses")
        config.data = {
            "_target_": f"{__name__}.PhotoData",
            "path": str(folder),
            **{key: config.data[key] for key in kept},
        }
    experiment = build(config)

    def train() -> None:
        with tempfile.TemporaryDirectory() as directory:
            trainer = Trainer(experiment, Path(directory))
            trainer.run()
            trainer.batches.close()
            for split in experiment.data.splits.values():
                split.close()  # type: ignore[union-attr]

    return train


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's advice."""
    for name in ("lightning", "lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def measure_images(repeats: int, folder: Path | None = None) -> None:
    """Print CPU milliseconds per training step, and write them to ``folder / "images.csv"``.

    Every measurement is a training of 4 epochs from its start, with its loaders and its files;
    building model and dataset does not count.

    Args:
        repeats: Number of measurements, after one that warms up.
        folder: Folder for the CSV file; None to print only.
    """
    contenders: dict[str, Callable[..., Training]] = {
        "plain loop": plain,
        "Lightning": lightning,
        "mtl-runner (same Dataset)": lambda *case: ours(*case, from_files=False),
        "mtl-runner data=image_folder": lambda *case: ours(*case, from_files=True),
    }
    if importlib.util.find_spec("lightning") is None:
        del contenders["Lightning"]
        print("Lightning is left out; to measure it, too: pip install lightning\n")
    torch.set_num_threads(1)
    columns = ["workers", *(f"{name}: ms/step" for name in contenders)]
    compared = [name for name in contenders if name != "plain loop"]
    table = Table(
        [*columns, *(f"{name}: to plain" for name in compared)],
        folder and folder / "images.csv",
        f"python scripts/benchmark --images --repeats {repeats} --csv docs/tables",
    )
    with tempfile.TemporaryDirectory() as photos, quiet():
        write_photos(Path(photos))
        for workers in (0, 2):
            row = _measure(contenders, (Path(photos), workers), repeats)
            ratios = [row[name] / row["plain loop"] for name in compared]
            table.row(
                [
                    str(workers),
                    *(f"{value:.1f}" for value in row.values()),
                    *(f"{ratio:.2f}x" for ratio in ratios),
                ]
            )


def _measure(
    contenders: dict[str, Callable[..., Training]], case: tuple[Path, int], repeats: int
) -> dict[str, float]:
    """Return the median CPU milliseconds per training step, by contender."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    steps = EPOCHS * -(-TRAINING // BATCH)
    for repeat in range(repeats + 1):
        for name, make in contenders.items():
            train = make(*case)
            gc.collect()
            before = cpu_seconds()
            train()
            # The first round warms up.
            if repeat:
                times[name].append((cpu_seconds() - before) / steps * 1000)
    return {name: statistics.median(values) for name, values in times.items()}
