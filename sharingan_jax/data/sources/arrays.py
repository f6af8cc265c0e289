"""Images from a .npy or .npz file."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.sources.files import Member, label_remarks, read_array
from sharingan_jax.data.storage import IN_MEMORY, Source, Storage, file_state, key_of
from sharingan_jax.errors import UserError, reason_of

IMAGES, LABELS, OTHER_LABELS, CLASSES = "images", "labels", "y", "classes"
"""The names of the arrays of a .npz."""
MOST_LABEL_BYTES = 2**30
MOST_CLASSES = 65536
LAYOUT = "[N, H, W] or [N, H, W, C] with C = 1, 3 or 4"


@dataclass(frozen=True)
class _Header:
    """What a .npy says of its array before its bytes."""

    shape: tuple[int, ...]
    is_transposed: bool
    dtype: np.dtype[Any]


def array_dataset(path: Path, decoding: Decoding, *, storage: Storage = IN_MEMORY) -> ImageDataset:
    """Load images [N, H, W] or [N, H, W, C] from a .npy or .npz, resized to uint8 [N, size, size, channels].

    The numbers are uint8, uint16 (65535 is white) or floats from 0 to 1, in either byte order. [N, H, W] with W = 1, 3 or 4 is
    refused: it may as well be one image [H, W, C]. A .npz has the array `images`, or one array of any name, and may have `labels`
    or `y`, whole numbers from 0, [N], and `classes`, the name of each. Images are named by their place: 000000, 000001, ... The
    file is read image by image. More than `storage` holds in memory are decoded once into a file, which later starts read if
    this one has not changed. Raise UserError if it holds anything else, or claims more than it holds.
    """
    try:
        with _open_arrays(path) as arrays:
            name = _name_of_images(path, [*arrays])
            header = _checked_header(path, *arrays[name], decoding)
            labelled = next((label for label in (LABELS, OTHER_LABELS) if label in arrays and label != name), None)
            labels = _read_small(path, labelled, *arrays[labelled]) if labelled else None
            classes = _read_small(path, CLASSES, *arrays[CLASSES]) if CLASSES in arrays else None
        source = Source(
            members=partial(_members, path, name),
            read=partial(read_array, decoding),
            count=header.shape[0],
            size=math.prod(header.shape) * header.dtype.itemsize,
            key=lambda: key_of(str(path.absolute()), decoding, [file_state(path), name.encode()]),
        )
        reading = storage.read(source, image_shape=decoding.image_shape)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise UserError(f"data.path={path}: expected an array of images, got: {reason_of(error)}. Save it again.") from None
    for image in reading.found:
        if image.reason:
            raise UserError(f"data.path={path}: image {int(image.name)} cannot be read: {image.reason}.")
    numbers = None if labels is None else _checked_labels(path, labels, count=len(reading.found))
    named = () if numbers is None else _class_names(path, numbers, classes)
    return reading.dataset(
        labels=numbers,
        classes=named,
        kind=f"a {path.suffix.lower() or 'numpy'} array",
        remarks=label_remarks(numbers, named, origin=f"by the array {labelled}"),
    )


@contextmanager
def _open_arrays(path: Path) -> Iterator[dict[str, tuple[IO[bytes], int]]]:
    """Yield the arrays of a file: for each name, the open .npy and how many bytes it has."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield {IMAGES: (file, path.stat().st_size)}
        return
    with zipfile.ZipFile(path) as archive:
        opened = {member.filename.removesuffix(".npy"): (archive.open(member), member.file_size) for member in archive.infolist()}
        try:
            yield {name: (member, size) for name, (member, size) in opened.items()}
        finally:
            for member, _ in opened.values():
                member.close()


def _name_of_images(path: Path, names: list[str]) -> str:
    others = [name for name in names if name not in (LABELS, CLASSES)]
    if len(others) > 1 and OTHER_LABELS in others:
        others.remove(OTHER_LABELS)
    if IMAGES in names:
        return IMAGES
    if len(others) != 1:
        raise UserError(
            f"data.path={path}: expected an array called {IMAGES}, got {', '.join(names) or 'none'}. Save it under that name."
        )
    return others[0]


def _read_header(file: IO[bytes], size: int) -> _Header:
    """Read a .npy's header. Raise ValueError if the array would not be what is in the file."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"its format has the version {version}, expected (1, 0) or (2, 0)")
    try:
        shape, is_transposed, dtype = readers[version](file)
    except Exception as error:  # It is parsed as Python's literals, which raise many kinds of error.
        raise ValueError(f"its header is damaged: {reason_of(error)}") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    claimed = math.prod(shape) * dtype.itemsize
    if any(type(side) is not int or side < 0 for side in shape) or not 0 <= claimed <= size:
        raise ValueError(f"it claims {claimed:,} bytes of shape {list(shape)}, and holds {size:,}")
    return _Header(shape, is_transposed, dtype)


def _checked_header(path: Path, file: IO[bytes], size: int, decoding: Decoding) -> _Header:
    """Return the header of an array of images."""
    header = _read_header(file, size)
    shape, dtype = header.shape, header.dtype
    found = f"{dtype} {list(shape)}"
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)) or not math.prod(shape):
        first = len(shape) == 4 and shape[1] in (1, 3, 4)
        remedy = "Save images.transpose(0, 2, 3, 1)" if first else "Save them in that order"
        raise UserError(f"data.path={path}: expected images {LAYOUT}, got {found}. {remedy}.")
    if len(shape) == 3 and shape[2] in (1, 3, 4):
        both = f"one image [H, W, C] or {shape[0]:,} grey images {shape[2]} pixels wide"
        remedy = "Save images[None] if it is one, images[..., None] if they are grey"
        raise UserError(f"data.path={path}: expected images {LAYOUT}, got {found}, which may be {both}. {remedy}.")
    if dtype.newbyteorder("=") not in (np.uint8, np.uint16) and dtype.kind != "f":
        allowed = "uint8, uint16 or floats from 0 to 1"
        raise UserError(f"data.path={path}: expected {allowed}, got {found}. Scale them to 0 to 255, and save uint8.")
    if header.is_transposed:
        raise UserError(f"data.path={path}: expected an array in C order, got Fortran order. Save np.ascontiguousarray(images).")
    if shape[1] * shape[2] > decoding.max_pixels:
        raise UserError(
            f"data.path={path}: expected images of at most {decoding.max_pixels:,} pixels (data.max_pixels), got {found}."
        )
    return header


def _members(path: Path, name: str) -> Iterator[Member]:
    """Yield the images of an array, [H, W] or [H, W, C] each. Raise EOFError if the file ends too early."""
    with _open_arrays(path) as arrays:
        file, size = arrays[name]
        header = _read_header(file, size)
        count, *shape = header.shape
        wanted = math.prod(shape) * header.dtype.itemsize
        for index in range(count):
            content = file.read(wanted)
            if len(content) < wanted:
                raise EOFError(f"it ends in image {index} of {count:,}")
            yield Member(f"{index:06d}", np.frombuffer(content, header.dtype).reshape(shape))


def _read_small(path: Path, name: str, file: IO[bytes], size: int) -> np.ndarray:
    """Return an array of labels or of their names, whole."""
    if size > MOST_LABEL_BYTES:
        raise UserError(f"data.path={path}: expected at most {MOST_LABEL_BYTES:,} bytes of {name}, got {size:,}.")
    header = _read_header(file, size)
    content = file.read(math.prod(header.shape) * header.dtype.itemsize)
    return np.frombuffer(content, header.dtype).reshape(header.shape)


def _checked_labels(path: Path, labels: np.ndarray, *, count: int) -> np.ndarray:
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.shape != (count,) or flat.dtype.kind not in "iu":
        found = f"{labels.dtype} {list(labels.shape)}"
        raise UserError(f"data.path={path}: expected {LABELS} of whole numbers [{count}], one for each image, got {found}.")
    if flat.min() < 0 or flat.max() >= MOST_CLASSES:
        raise UserError(f"data.path={path}: expected {LABELS} from 0 to {MOST_CLASSES - 1}, got {flat.min()} to {flat.max()}.")
    return flat.astype(np.int64)


def _class_names(path: Path, labels: np.ndarray, classes: np.ndarray | None) -> tuple[str, ...]:
    """Return the name of each class: those of the file, or 0, 1, 2, ..."""
    needed = int(labels.max()) + 1
    if classes is None:
        return tuple(map(str, range(needed)))
    if classes.ndim != 1 or classes.dtype.kind != "U" or len(classes) < needed:
        found = f"{classes.dtype} {list(classes.shape)}"
        raise UserError(f"data.path={path}: expected {CLASSES} of at least {needed} names, one for each label, got {found}.")
    return tuple(map(str, classes))
