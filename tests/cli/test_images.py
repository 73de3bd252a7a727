"""Images from files through backbones, as typed."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from mtl_runner.train.checkpoint import load
from tests.docs.blocks import BLOCKS
from tests.support.builders import assert_same_bits
from tests.support.commands import Command, send
from tests.support.image_files import save_dataset, write_classes, write_photos
from tests.support.run_files import reproducible_files

pytest.importorskip("torchvision", reason="pip install 'mtl-runner[images]'")
timm = pytest.importorskip("timm", reason="pip install 'mtl-runner[timm]'")
pytestmark = pytest.mark.images

TABLE = (
    "data=image_folder",
    "data.path=photos",
    "data.labels=labels.csv",
    "data.targets={colour: classification, size: regression}",
    "model.name=test_resnet",
    "data.batch_size=8",
    "record.plots=none",
)


def test_a_folder_trains_and_answers_for_new_files(mtl: Command, tmp_path: Path) -> None:
    """Breaks if predictions are not those of the evaluated model, or need what the run read."""
    import mtl_runner

    photos = write_photos(tmp_path)
    state = timm.create_model("test_resnet", num_classes=7).state_dict()
    torch.save(state, tmp_path / "weights.pt")
    done = mtl(
        "mtl-run", *TABLE, "model.weights=weights.pt", "trainer.epochs=2", "hydra.run.dir=run"
    )
    assert done.code == 0, done.err
    (tmp_path / "weights.pt").unlink()
    predictor = mtl_runner.load(tmp_path / "run")
    files = sorted(photos.glob("*.jpg"))[:3]
    answers = predictor.predict(files)
    assert list(answers.columns) == ["colour", "size"]
    assert list(answers.index) == list(map(str, files))
    assert set(answers["colour"]) <= {"blue", "green", "red"}
    assert predictor.image_reader is not None
    tensors = predictor.predict(predictor.image_reader.read_all(files))
    assert answers["size"].tolist() == pytest.approx(tensors["size"].flatten().tolist())
    with pytest.raises(mtl_runner.errors.DataError, match="predict takes a list of image files"):
        predictor.predict("new.jpg")
    for question, names in (
        (("photos/000.jpg", "photos/001.jpg"), ["photos/000.jpg", "photos/001.jpg"]),
        (("labels.csv", "data.path=photos"), [file.name for file in sorted(photos.glob("*.jpg"))]),
    ):
        answer = mtl("mtl-predict", "run", *question, "-o", "answers.csv")
        assert answer.code == 0, answer.err
        table = pd.read_csv(tmp_path / "answers.csv")
        assert table["file"].tolist() == names
        assert table["colour"].tolist()[:2] == answers["colour"].tolist()[:2]
        assert "colour.probability.blue" in table.columns
    assert mtl("mtl-predict", "run", "labels.csv").last_line == (
        f"There is no image file '000.jpg' (looked in {tmp_path}); set data.path to the folder that the names start from."
    )


def test_a_stopped_run_of_images_goes_on_to_the_same_bytes(mtl: Command, tmp_path: Path) -> None:
    """Breaks if crops and flips after a resume are others, with any number of workers."""
    write_photos(tmp_path)
    long = (*TABLE, "trainer.epochs=12")
    assert mtl("mtl-run", *long, "data.loader.workers=1", "hydra.run.dir=all").code == 0
    stop = send(signal.SIGTERM, after=(tmp_path / "stopped" / "checkpoint.pt").exists)
    assert mtl("mtl-run", *long, "hydra.run.dir=stopped", meanwhile=stop).code != 0
    done = mtl("mtl-run", "resume=stopped")
    assert done.code == 0, done.err
    first, second = (tmp_path / run / "metrics.csv" for run in ("all", "stopped"))
    assert first.read_bytes() == second.read_bytes()


# A network, a dataset, and what is frozen at first.
KILLED = {
    "resnet18": (*TABLE, "model.name=resnet18", "optimizer=sgd", "trainer.threads=1"),
    "frozen": (*TABLE, "model.freeze={parts: [conv1, bn1, layer1], until: 75%}"),
    "hf": (
        "data=hf",
        "data.path=saved",
        "data.inputs=image",
        "data.targets={label: classification, size: regression}",
        "model.name=test_resnet",
        "data.batch_size=8",
        "record.plots=none",
    ),
}


@pytest.mark.parametrize("case", KILLED)
def test_a_run_that_is_killed_inside_an_epoch_ends_in_the_same_files(
    mtl: Command, tmp_path: Path, case: str
) -> None:
    """Breaks if a process that is killed among its batches loses what only it knew."""
    if case == "hf":
        pytest.importorskip("datasets", reason="pip install 'mtl-runner[hf]'")
        save_dataset(tmp_path / "saved")
    write_photos(tmp_path)
    command = ("mtl-run", *KILLED[case], "trainer.epochs=2", "trainer.checkpoint_every=3 steps")
    done = mtl(*command, "hydra.run.dir=whole")
    assert done.code == 0, done.err
    saved = tmp_path / "killed" / "checkpoint.pt"
    kill = send(signal.SIGKILL, after=saved.exists)
    killed = mtl(*command, "hydra.run.dir=killed", meanwhile=kill)
    assert killed.code == -signal.SIGKILL, killed.err
    assert load(saved)["steps_in_epoch"] == 3
    done = mtl("mtl-run", "resume=killed", "data.loader.workers=1")
    assert done.code == 0, done.err
    assert reproducible_files(tmp_path / "killed") == reproducible_files(tmp_path / "whole")
    for name, weights in {"checkpoint.pt": "model", "best.pt": "weights"}.items():
        assert_same_bits(*(load(tmp_path / run / name)[weights] for run in ("whole", "killed")))


def test_masks_and_depths_train_and_answer_per_pixel(mtl: Command, tmp_path: Path) -> None:
    """Breaks if dense tasks from files do not train, or their answers have another size."""
    import mtl_runner

    photos = write_photos(tmp_path)
    targets = (
        "data.targets={road: {kind: segmentation, folder: masks}, "
        "depth: {kind: depth, folder: depths, scale: 0.001}}"
    )
    done = mtl(
        "mtl-run", "data=image_folder", "data.path=photos", targets, "model.name=test_resnet",
        "model.width=8", "data.batch_size=8", "trainer.epochs=1", "record.plots=none",
        "hydra.run.dir=run",
    )  # fmt: skip
    assert done.code == 0, done.err
    predictor = mtl_runner.load(tmp_path / "run")
    answers: Any = predictor.predict(sorted(photos.glob("*.jpg"))[:2])
    assert answers["road"].shape == (2, 32, 32)
    assert answers["depth"].shape == (2, 1, 32, 32)
    assert predictor.image_reader is not None
    assert torch.equal(predictor.image_reader.restore(answers["road"], (32, 32)), answers["road"])
    assert predictor.image_reader.restore(answers["depth"], (48, 96)).shape == (2, 1, 48, 96)


def test_ignored_pixels_and_images_without_a_map_go_together(mtl: Command, tmp_path: Path) -> None:
    """Breaks if an image without a mask makes classes of the ignored pixels of the others."""
    from PIL import Image

    photos = write_photos(tmp_path)
    for number in range(0, 40, 4):
        (photos / f"masks/{number:03}.png").unlink()
        (photos / f"depths/{number + 1:03}.png").unlink()
    for file in (photos / "masks").glob("*.png"):
        with Image.open(file) as image:
            image.putpixel((3, 5), 255)
            image.save(file)
    targets = (
        "data.targets={road: {kind: segmentation, classes: [no, yes], folder: masks}, "
        "depth: {kind: depth, folder: depths, scale: 0.001, missing: 500}}"
    )
    for workers in (0, 2):
        done = mtl(
            "mtl-run", "data=image_folder", "data.path=photos", targets, "model.name=test_resnet",
            "model.width=8", "data.batch_size=8", "trainer.epochs=1", "record.plots=none",
            f"data.loader.workers={workers}", f"hydra.run.dir=w{workers}",
        )  # fmt: skip
        assert done.code == 0, done.err
    alone, helped = (tmp_path / f"w{workers}" / "metrics.csv" for workers in (0, 2))
    assert alone.read_bytes() == helped.read_bytes()


def test_a_saved_dataset_of_hugging_face_trains_and_answers(mtl: Command, tmp_path: Path) -> None:
    """Breaks if data=hf does not reach a model, or cannot be used for new files."""
    import mtl_runner

    pytest.importorskip("datasets", reason="pip install 'mtl-runner[hf]'")
    save_dataset(tmp_path / "saved")
    photos = write_photos(tmp_path / "new", count=2)
    done = mtl(
        "mtl-run", "data=hf", "data.path=saved", "data.inputs=image",
        "data.targets={label: classification}",
        "model.name=test_resnet", "data.batch_size=8", "trainer.epochs=1", "record.plots=none",
        "hydra.run.dir=run",
    )  # fmt: skip
    assert done.code == 0, done.err
    answers = mtl_runner.load(tmp_path / "run").predict(sorted(photos.glob("*.jpg")))
    assert set(answers["label"]) <= {"blue", "green", "red"}


def test_a_broken_file_is_named(mtl: Command, tmp_path: Path) -> None:
    """Breaks if the run does not say which file it was, or skip does not count it."""
    photos = write_photos(tmp_path)
    (photos / "005.jpg").write_bytes(b"no image")
    failed = mtl("mtl-run", *TABLE, "trainer.epochs=1", "hydra.run.dir=failed")
    assert failed.code != 0
    assert "005.jpg' cannot be decoded" in failed.last_line
    done = mtl("mtl-run", *TABLE, "trainer.epochs=1", "data.on_error=skip", "hydra.run.dir=skipped")
    assert done.code == 0, done.err
    assert (
        "1 of 40 image files cannot be decoded and were left out: 005.jpg." in done.err + done.out
    )


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("model.name=resnet81", "model.name=resnet81 is no model of timm; did you mean "),
        ("model.weights=none.pt", "model.weights='none.pt' is not a file (looked in "),
        ("data.augment=[flop]", "data.augment holds 'flop'; did you mean 'flip'? "),
    ],
)
def test_a_mistyped_option_is_told_before_a_missing_file(
    mtl: Command, tmp_path: Path, option: str, sentence: str
) -> None:
    """Breaks if minutes of reading images come before a typing mistake."""
    (write_photos(tmp_path) / "005.jpg").unlink()
    refused = mtl("mtl-run", *TABLE, option)
    assert refused.code == 1
    assert refused.err.strip().startswith(sentence)


def test_the_commands_of_the_page_run(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a command of docs/own/images.md cannot be pasted into a terminal."""
    pytest.importorskip("datasets", reason="pip install 'mtl-runner[hf]'")
    write_photos(tmp_path)
    write_classes(tmp_path / "classes")
    save_dataset(tmp_path / "saved")
    state = timm.create_model("test_resnet", num_classes=7).state_dict()
    torch.save(state, tmp_path / "weights.pt")
    commands = [c for b in BLOCKS if b.page == "docs/own/images.md" for c in b.commands]
    assert len(commands) == 6
    for command in commands:
        words = [word.replace("resnet18", "test_resnet") for word in command]
        done = mtl(*words, "trainer.epochs=1", "record.plots=none", "data.batch_size=16")
        assert done.code == 0, f"{command}: {done.err}"


def test_tokenized_texts_train_an_encoder_that_load_makes_again(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if an encoder of Hugging Face does not train, or load needs its folder."""
    import shutil

    import mtl_runner

    datasets = pytest.importorskip("datasets", reason="pip install 'mtl-runner[hf]'")
    transformers = pytest.importorskip("transformers", reason="pip install 'mtl-runner[hf]'")
    columns = {
        "input_ids": [[1 + i % 2, 5, 6, 0] for i in range(40)],
        "attention_mask": [[1, 1, 1, 0]] * 40,
        "label": [i % 2 for i in range(40)],
    }
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "texts"))
    config = transformers.BertConfig(
        vocab_size=10,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "encoder")
    done = mtl(
        "mtl-run", "data=hf", "data.path=texts", "data.inputs=[input_ids,attention_mask]",
        "data.targets={label: classification}", "model.name=./encoder", "model.weights=pretrained",
        "trainer.epochs=1", "record.plots=none", "hydra.run.dir=run",
    )  # fmt: skip
    assert done.code == 0, done.err
    shutil.rmtree(tmp_path / "encoder")
    words = {name: torch.tensor(columns[name][:2]) for name in ("input_ids", "attention_mask")}
    assert mtl_runner.load(tmp_path / "run").predict(words)["label"].shape == (2,)
