"""From image files to tensors: orientation, size, normalization, broken files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mtl_runner.data.image_folder.reader import ImageReader, decode, in_threads
from mtl_runner.errors import DataError

pytest.importorskip("torchvision", reason="pip install 'mtl-runner[images]'")
Image = pytest.importorskip("PIL.Image", reason="pip install 'mtl-runner[images]'")
pytestmark = pytest.mark.images


def test_an_image_covers_the_size_and_is_cut_at_the_centre(tmp_path: Path) -> None:
    """Breaks if images are stretched, or cut at one side."""
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    reader = ImageReader((10, 10), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert torch.equal(reader.read(tmp_path / "wide.png"), torch.ones(3, 10, 10))
    assert ImageReader((20, 40)).read(tmp_path / "wide.png").shape == (3, 20, 40)
    assert ImageReader.from_state(reader.state()) == reader


def test_the_camera_is_held_as_the_file_says(tmp_path: Path) -> None:
    """Breaks if photos of a phone lie on their side."""
    image = Image.fromarray(np.zeros((10, 30, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "phone.jpg", exif=exif)
    assert decode(tmp_path / "phone.jpg", "RGB").shape == (3, 30, 10)


@pytest.mark.parametrize("content", [b"", b"no image", "cut"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes | str) -> None:
    """Breaks if one of a million files ends a run without its name."""
    file = tmp_path / "broken.jpg"
    if content == "cut":
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(file)
        content = file.read_bytes()[:400]
    assert isinstance(content, bytes)
    file.write_bytes(content)
    with pytest.raises(
        DataError, match=r"The image file '.*broken\.jpg' cannot be decoded \(.+\); mend"
    ):
        decode(file, "RGB")
    with pytest.raises(DataError, match=r"There is no image file '.*none\.jpg'\."):
        decode(tmp_path / "none.jpg", "RGB")


def test_stored_numbers_of_16_bits_stay(tmp_path: Path) -> None:
    """Breaks if depths above 255 are cut to bytes."""
    Image.fromarray(np.full((2, 2), 40000, np.uint16)).save(tmp_path / "depth.png")
    assert decode(tmp_path / "depth.png", "").unique().tolist() == [40000]


def test_results_of_threads_keep_their_order() -> None:
    """Breaks if a file gets the result of another one."""
    assert in_threads(lambda i: i * i, range(50)) == [i * i for i in range(50)]


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (21, 7), (64, 64)])
@pytest.mark.parametrize("shape", [(16, 16), (32, 64), (45, 20), (9, 33), (7, 7)])
def test_an_answer_per_pixel_comes_back_to_the_image_s_own_size(
    size: tuple[int, int], shape: tuple[int, int]
) -> None:
    """Breaks if an answer is drawn at another place of the image than it is about."""
    tensors = pytest.importorskip("torchvision.tv_tensors")
    reader = ImageReader(size)
    for axis in (0, 1):
        places = torch.arange(shape[axis], dtype=torch.int64)
        places = (places[:, None] if axis == 0 else places[None]).expand(shape)[None]
        answer = torch.as_tensor(reader.fit(tensors.Mask(places.clone())))
        assert answer.shape == (1, *size)
        restored = reader.restore(answer, shape)
        assert restored.shape == (1, *shape)
        known = restored != -100
        step = shape[axis] / size[axis]
        assert int((restored - places)[known].abs().max()) <= step + 1
        numbers = reader.restore(answer.float(), shape)
        assert torch.equal(numbers.isnan(), ~known)
        # One side is whole, and of the other one as much is there as the network saw.
        share = known.float().mean()
        assert known.any(2).all() or known.any(1).all()
        shown = (min(size[0] / shape[0], size[1] / shape[1])) / max(
            size[0] / shape[0], size[1] / shape[1]
        )
        assert share == pytest.approx(shown, abs=0.12)
