"""Small folders of image files, and datasets of Hugging Face, whose labels can be learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CLASSES = ("blue", "green", "red")


def picture(index: int, side: int = 32) -> np.ndarray:
    """Return a picture of bytes ``[side, side, 3]``: a square on gray, of a class's colour."""
    random = np.random.default_rng(index)
    pixels = random.integers(90, 110, (side, side, 3))
    half = 4 + index % 5
    centre = slice(side // 2 - half, side // 2 + half)
    pixels[centre, centre] = 0
    pixels[centre, centre, 2 - index % 3] = 250
    return pixels.astype(np.uint8)


def write_photos(folder: Path, count: int = 40, side: int = 32) -> Path:
    """Write ``photos/``, masks and depths of its squares, and ``labels.csv``; return the folder.

    Every seventh class and every fifth size has no label.
    """
    from PIL import Image

    lines = ["file,colour,size"]
    for name in ("photos", "photos/masks", "photos/depths"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        pixels = picture(i, side)
        square = pixels.max(2) > 200
        Image.fromarray(pixels).save(folder / "photos" / f"{i:03}.jpg", quality=95)
        Image.fromarray(square.astype(np.uint8)).save(folder / "photos/masks" / f"{i:03}.png")
        depth = np.where(square, 2000, 500).astype(np.uint16)
        Image.fromarray(depth).save(folder / "photos/depths" / f"{i:03}.png")
        colour = CLASSES[i % 3] if i % 7 else ""
        lines.append(f"{i:03}.jpg,{colour},{(8 + 2 * (i % 5)) if i % 5 else ''}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "photos"


def write_classes(folder: Path, count: int = 30, splits: tuple[str, ...] = ("",)) -> Path:
    """Write a folder per class, below one per split; return the folder."""
    from PIL import Image

    for split in splits:
        for i in range(count):
            place = folder / split / CLASSES[i % 3]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(i)).save(place / f"{i:03}.png")
    return folder


def save_dataset(folder: Path, count: int = 40) -> Path:
    """Save a dataset of Hugging Face with an image, numbers, a class and a size."""
    import datasets
    from PIL import Image

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "numbers": datasets.Sequence(datasets.Value("float32"), length=3),
            "weight": datasets.Value("float32"),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=list(CLASSES)),
            "size": datasets.Value("float32"),
        }
    )
    columns = {
        "image": [Image.fromarray(picture(i)) for i in range(count)],
        "numbers": [[float(i % 3), float(i % 5), 1.0] for i in range(count)],
        "weight": [float(i) for i in range(count)],
        "text": [f"word {i}" for i in range(count)],
        "label": [i % 3 if i % 7 else -1 for i in range(count)],
        "size": [float(i % 5) if i % 4 else None for i in range(count)],
    }
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(folder))
    return folder
