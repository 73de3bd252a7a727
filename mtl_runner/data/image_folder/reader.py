"""Image files to tensors: decoded, brought to one size, normalized."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtl_runner.config.extras import import_extra
from mtl_runner.errors import DataError
from mtl_runner.tasks.kinds import MISSING_CLASS

# Of the images of ImageNet, on which most pretrained weights were trained.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODES = {1: "L", 3: "RGB"}
PURPOSE = "Reading images"
ORIENTATION = 0x0112  # number of the EXIF entry that says how the camera was held


@dataclass(frozen=True)
class ImageReader:
    """How an image becomes the inputs of a model, in evaluation and for new files.

    An image is scaled so that it covers ``size`` and keeps its shape, and what is too much is cut
    off at both sides; its values in [0, 1] are normalized by channel.

    Attributes:
        size: Height and width in pixels.
        channels: 3 (RGB) or 1 (gray).
        mean: Subtracted from each channel.
        std: What the difference is divided by.

    Example:
        >>> ImageReader((2, 2), channels=1, mean=(0.5,), std=(0.5,)).state()["size"]
        [2, 2]
    """

    size: tuple[int, int]
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ImageReader:
        """Return the reader of a saved :meth:`state`."""
        options: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in state.items()}
        return cls(**options)

    def state(self) -> dict[str, Any]:
        """Return the reader as plain values, for the checkpoint."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def decode(self, source: Any) -> Tensor:
        """Return an image as bytes ``[channels, height, width]``, turned as its camera was held.

        Args:
            source: A file, or an image of Pillow.

        Raises:
            DataError: If it cannot be decoded; the sentence names the file.
        """
        return decode(source, MODES[self.channels])

    def fit(self, picture: Any) -> Any:
        """Return an image, or a mask, that covers :attr:`size`, cut at the centre."""
        functional = import_extra("torchvision.transforms.v2.functional", "images", PURPOSE)
        scaled = self._scaled(picture.shape[-2:])
        if scaled != list(picture.shape[-2:]):
            picture = functional.resize(picture, scaled, antialias=True)
        return functional.center_crop(picture, list(self.size))

    def restore(self, answer: Tensor, size: tuple[int, int]) -> Tensor:
        """Return an answer per pixel in the size of its image: the way back from :meth:`fit`.

        A pixel gets the answer of the nearest one. What was cut off has none: NaN among numbers,
        -100 among classes.

        Args:
            answer: What ``predict`` returned of one image, ``[..., height, width]``.
            size: Height and width of the image, turned as its camera was held.

        Example:
            >>> reader = ImageReader((2, 2))
            >>> reader.restore(torch.tensor([[0, 1], [2, 3]]), (2, 4))
            tensor([[-100,    0,    1, -100],
                    [-100,    2,    3, -100]])
        """
        scaled = self._scaled(size)
        missing = torch.nan if answer.is_floating_point() else MISSING_CLASS
        canvas = answer.new_full((*answer.shape[:-2], *scaled), missing)
        # As the centre is cut out.
        top, left = (round((s - w) / 2) for s, w in zip(scaled, self.size, strict=True))
        canvas[..., top : top + self.size[0], left : left + self.size[1]] = answer
        rows, columns = (
            ((torch.arange(side) + 0.5) * (s / side)).long().clamp(max=s - 1).to(answer.device)
            for side, s in zip(size, scaled, strict=True)
        )
        return canvas[..., rows[:, None], columns]

    def _scaled(self, size: Sequence[int]) -> list[int]:
        """Return the height and width to which an image is scaled before its centre is cut out."""
        factor = max(wanted / side for wanted, side in zip(self.size, size, strict=True))
        return [
            max(wanted, round(side * factor)) for wanted, side in zip(self.size, size, strict=True)
        ]

    def normalize(self, image: Tensor) -> Tensor:
        """Return the values of an image of bytes, normalized, in floats."""
        values = image.as_subclass(Tensor).to(torch.get_default_dtype(), copy=True)
        mean, std = (_by_channel(numbers, values.dtype) for numbers in (self.mean, self.std))
        return values.div_(255).sub_(mean).div_(std)

    def read(self, source: Any) -> Tensor:
        """Return an image ``[channels, *size]`` as the model takes it.

        Args:
            source: A file, or an image of Pillow.
        """
        return self.normalize(self.fit(self.decode(source)))

    def read_all(self, sources: Sequence[Any]) -> Tensor:
        """Return images ``[N, channels, *size]``, of at least one file or image."""
        return torch.stack([self.read(source) for source in sources])


@lru_cache
def _by_channel(numbers: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    """Return numbers as a tensor ``[channels, 1, 1]``, which nobody changes."""
    return torch.tensor(numbers, dtype=dtype).view(-1, 1, 1)


def decode(source: Any, mode: str) -> Tensor:
    """Return an image as a tensor ``[channels, height, width]``.

    Args:
        source: A file, or an image of Pillow.
        mode: ``"RGB"``, ``"L"`` (gray), or ``""``: one channel of whole numbers or floats, as the
            file stores them.

    Raises:
        DataError: If it cannot be decoded; the sentence names the file.
    """
    import numpy as np

    image_module = import_extra("PIL.Image", "images", PURPOSE)
    ops = import_extra("PIL.ImageOps", "images", PURPOSE)

    def pixels(image: Any) -> np.ndarray:
        # Of an image that is not turned exif_transpose would return a copy, and convert another.
        turned = ops.exif_transpose(image) if ORIENTATION in image.getexif() else image
        return np.array(turned.convert(mode) if mode not in ("", turned.mode) else turned)

    try:
        if isinstance(source, str | Path):
            with image_module.open(source) as image:
                array = pixels(image)
        else:
            array = pixels(source)
    except FileNotFoundError as error:
        raise DataError(f"There is no image file {str(source)!r}.") from error
    # Pillow raises many classes for broken files, among them SyntaxError.
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DataError(
            f"The image file {str(source)!r} cannot be decoded ({reason}); mend or remove it (in training, data.on_error=skip leaves such files out)."
        ) from error
    if array.ndim == 2:
        array = array[:, :, None]
    return torch.from_numpy(array.astype(_torch_type(array), copy=False)).permute(2, 0, 1)


def _torch_type(array: Any) -> Any:
    """Return the type that torch's operations know for numbers of NumPy."""
    import numpy as np

    if array.dtype == np.uint8:
        return np.uint8
    return np.float32 if array.dtype.kind == "f" else np.int64


def in_threads(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Return a function's results for many files, read by several threads.

    Args:
        function: From an item to a result.
        items: The items.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(function, items))
