"""Pictures with classes, as they lie in a parquet file or in folders."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ..core import MutransferError, needs

PICTURES, LABELS = ("img", "image"), ("label", "labels", "fine_label", "class")
"""Names of the columns of pictures and of their classes, as data sets have them."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
"""Files of a folder that are pictures."""


@dataclass(frozen=True)
class Pictures:
    """Encoded pictures and their classes.

    Attributes:
        name: The name of the file or folder.
        encoded: The pictures: files' bytes, records with "bytes", or pillow's images.
        labels: The class of each, from 0.
        classes: Names of the classes, where they are known.
    """

    name: str
    encoded: Sequence[Any]
    labels: Sequence[int]
    classes: tuple[str, ...] = ()

    def digest(self) -> str:
        """Return a hash of pictures and classes."""
        digest = hashlib.sha256()
        for picture, label in zip(self.encoded, self.labels, strict=True):
            raw = _raw(picture)
            digest.update(f"{label} {len(raw)} ".encode() + raw)
        return digest.hexdigest()[:8]

    def decoded(self, size: int | None) -> UInt8[Tensor, "picture 3 height width"]:
        """Return the pictures as one tensor of red, green and blue.

        Args:
            size: Side to which they are scaled; as they are where it is None.

        Raises:
            MutransferError: pillow is not installed, a picture cannot be read, or they are of
                different sizes.
        """
        arrays = [_decoded(picture, size, self.name) for picture in self.encoded]
        shapes = sorted({array.shape[:2] for array in arrays})
        if len(shapes) > 1:
            raise MutransferError(
                f"{self.name} has pictures of different sizes, such as {shapes[0]} and "
                f"{shapes[-1]}: give size=, the side to which they are scaled"
            )
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)

    def targets(self) -> Tensor:
        """Return the classes."""
        return torch.tensor(list(self.labels), dtype=torch.long)


def pictures(path: str | Path) -> Pictures:
    """Return the pictures of a parquet file, or of a folder with a subfolder a class.

    Raises:
        MutransferError: there is no such file or folder, or no pictures with classes in it.
    """
    path = Path(path)
    if path.is_dir():
        return _of_folder(path)
    if path.is_file():
        return _of_parquet(path)
    raise MutransferError(
        f"there is no file or folder {path}: give a parquet file with columns img and label, or a "
        "folder with a subfolder of pictures for each class"
    )


def column(names: Sequence[str], known: Sequence[str]) -> str | None:
    """Return the first column with a known name."""
    return next((name for name in known if name in names), None)


def _of_parquet(path: Path) -> Pictures:
    with needs(f"reading {path.name}", "pyarrow", "images"):
        from pyarrow import ArrowException, parquet
    try:
        names = parquet.read_schema(path).names
        picture, label = column(names, PICTURES), column(names, LABELS)
        if picture is None or label is None:
            raise MutransferError(
                f"{path} has columns {', '.join(names)}, and none of pictures with classes: name "
                "them img and label"
            )
        table = parquet.read_table(path, columns=[picture, label]).to_pydict()
    except (ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise MutransferError(f"{path} is no parquet file that can be read: {reason}") from None
    return _checked(Pictures(path.name, table[picture], table[label]))


def _of_folder(path: Path) -> Pictures:
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    files = [
        (file, label)
        for label, folder in enumerate(folders)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES
    ]
    encoded = [file.read_bytes() for file, _ in files]
    labels = [label for _, label in files]
    return _checked(Pictures(path.name, encoded, labels, tuple(folder.name for folder in folders)))


def _checked(found: Pictures) -> Pictures:
    if not found.labels:
        raise MutransferError(
            f"{found.name} has no pictures: a folder needs a subfolder of "
            f"{', '.join(suffix[1:] for suffix in SUFFIXES)} files for each class"
        )
    if not all(isinstance(label, int) and label >= 0 for label in found.labels):
        raise MutransferError(f"{found.name} has labels that are no whole numbers from 0")
    return found


def _raw(picture: Any) -> bytes:
    """Return what tells pictures apart: a file's bytes, or the values of an image."""
    if isinstance(picture, Mapping):
        picture = picture.get("bytes")
    if isinstance(picture, bytes):
        return picture
    return repr(picture).encode() if picture is None else bytes(picture.tobytes())


def _decoded(picture: Any, size: int | None, name: str) -> UInt8[np.ndarray, "height width 3"]:
    with needs(f"reading the pictures of {name}", "pillow", "images"):
        from PIL import Image, UnidentifiedImageError
    if not isinstance(picture, Image.Image):
        try:
            picture = Image.open(BytesIO(_raw(picture)))
            picture.load()
        except (UnidentifiedImageError, OSError) as error:
            raise MutransferError(f"{name} has a picture that cannot be read: {error}") from None
    picture = picture.convert("RGB")
    return np.asarray(picture if size is None else picture.resize((size, size)))
