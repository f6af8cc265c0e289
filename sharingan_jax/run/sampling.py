"""A trained generator, images drawn from it, and files of latents for it."""

import difflib
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from sharingan_jax.errors import UserError, listed, reason_of

MOST_BYTES = 2**31  # of a file of latents
CLASSES_NAMED = 10  # in an error
GROUP = 500  # Images drawn at once: at 64 pixels about a gigabyte of activations.


@dataclass(frozen=True)
class Sampler:
    """A trained generator; `origin` says which one it is. `generate` takes float32 [B, nz] to [B, H, W, C] in [−1, 1].

    `image_shape` is (H, W, C). `columns` is the number of images in a row of a grid: the run's sample.columns, if it is known.
    A generator of `classes` takes latents [B, nz + classes] that end in the class of each, one-hot (`latents.with_classes`).
    `class_names` are those of the images, if they are known. The signs of the first `signs` numbers of a latent choose how its
    image is mirrored and turned (`model.symmetry`); a walk keeps them.
    """

    origin: str
    nz: int
    generate: Callable[[np.ndarray], Any]
    image_shape: tuple[int, ...]
    columns: int = 5
    classes: int = 0
    class_names: tuple[str, ...] = ()
    signs: int = 0

    @property
    def width(self) -> int:
        """The numbers of a latent: `nz` and `classes`."""
        return self.nz + self.classes

    @property
    def hint(self) -> str:
        """What to know about the latents of a generator of classes; "" for others."""
        return f" They end in the class of each, one-hot: {self.nz} numbers and {self.classes}." if self.classes else ""

    def label_of(self, name: int | str) -> int:
        """Return the number of a class, given by its number or its name. Of a text, a name counts before a number.

        Raise UserError if there is no such class.
        """
        if not self.classes:
            raise UserError(f"label={name}: expected a generator of classes, got one without ({self.origin}). Leave it out.")
        if isinstance(name, str) and name in self.class_names:
            return self.class_names.index(name)
        if str(name).isdecimal() and int(name) < self.classes:
            return int(name)
        numbered = self.class_names == tuple(map(str, range(self.classes)))
        names = f", or {listed(self.class_names, most=CLASSES_NAMED)}" if self.class_names and not numbered else ""
        nearest = difflib.get_close_matches(str(name), self.class_names, n=1, cutoff=0.6)
        hint = f" Use {nearest[0]}." if nearest else ""
        raise UserError(f"label={name}: expected 0 to {self.classes - 1}{names}.{hint}")

    def draw(self, z: np.ndarray, *, group: int = GROUP) -> np.ndarray:
        """Return images float32 [N, H, W, C] in [−1, 1] for latents [N, nz], drawn in groups of at most `group`."""
        return np.concatenate(list(self.draw_groups(z, group=group)))

    def draw_groups(self, z: np.ndarray, *, group: int = GROUP) -> Iterator[np.ndarray]:
        """Yield the images of latents [N, nz], float32 [B, H, W, C] in [−1, 1], in about equal groups of at most `group`."""
        for part in np.array_split(z, -(-len(z) // group)):
            yield np.asarray(self.generate(part))


def default_statistics(label: int | str | None) -> Literal["batch", "running"]:
    """Return the statistics of batch norm to draw with: of the batch, and if all images are of one class, the running ones."""
    return "batch" if label is None else "running"


def read_latents(path: Path, *, nz: int, classes: int = 0) -> np.ndarray:
    """Return latents [N, nz] as float32 from a .npy, .npz or .pt file that holds one array [N, nz] or [N, nz, 1, 1].

    With `classes` the file may hold [N, nz + classes] as well.

    Raise UserError naming the file if it holds anything else, and before anything is allocated if it claims more than it holds.
    """
    try:
        z = _READERS[path.suffix.lower()](path)
    except KeyError:
        raise UserError(f"latents={path}: expected a name ending in {', '.join(_READERS)}") from None
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"latents={path}: not readable as an array: {reason_of(error)}") from None
    found = f"{z.dtype} {list(z.shape)}" if isinstance(z, np.ndarray) else type(z).__name__
    if isinstance(z, np.ndarray) and z.shape[2:] == (1, 1):
        z = z[:, :, 0, 0]  # PyTorch's form of latents.
    widths = sorted({nz, nz + classes})
    if not isinstance(z, np.ndarray) or z.ndim != 2 or z.shape[1] not in widths or not len(z) or z.dtype.kind not in "fiu":
        shapes = " or ".join([f"[N, {width}]" for width in widths] + [f"[N, {nz}, 1, 1]"])
        raise UserError(f"latents={path}: expected numbers of shape {shapes}, got {found}")
    with np.errstate(over="ignore"):
        z = z.astype(np.float32)
    if not np.isfinite(z).all():
        raise UserError(f"latents={path}: not all of its numbers are finite, or fit a float32")
    return z


def _read_npy(path: Path) -> Any:
    with path.open("rb") as file:
        return _read_array(file, size=path.stat().st_size)


def _read_npz(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        if len(archive.infolist()) != 1:
            raise ValueError(f"expected one array, got {len(archive.infolist())}")
        (member,) = archive.infolist()
        with archive.open(member) as file:
            return _read_array(file, size=member.file_size)


def _read_array(file: IO[bytes], *, size: int) -> Any:
    """Read the .npy format from a file of `size` bytes, after its header is checked against that size."""
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in read_header:
        raise ValueError(f"its format has the version {version}, expected (1, 0) or (2, 0)")
    shape, is_transposed, dtype = read_header[version](file)
    claimed = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise ValueError("it holds Python objects, expected numbers")
    if not 0 <= claimed <= min(size, MOST_BYTES):
        raise ValueError(f"it claims {claimed:,} bytes of {dtype}, and holds {size:,}; at most {MOST_BYTES:,} are read")
    content = file.read(claimed)
    if len(content) < claimed or any(type(side) is not int for side in shape):
        raise ValueError(f"it claims {claimed:,} bytes of shape {list(shape)}, and holds {len(content):,}")
    array = np.frombuffer(content, dtype)
    return array.reshape(shape[::-1]).T if is_transposed else array.reshape(shape)


def _read_pt(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise ValueError("this format needs torch, which is not installed; use .npy") from None
    try:
        z = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Pickle, zip and torch raise many kinds of error on other files.
        raise ValueError(f"torch.load(weights_only=True) refuses it ({type(error).__name__})") from None
    if not isinstance(z, torch.Tensor):
        return z
    if z.layout != torch.strided or z.is_complex() or z.is_nested or z.device.type != "cpu":
        raise ValueError(f"it holds a {z.dtype} tensor with the layout {z.layout} on {z.device}, expected plain numbers")
    claimed, held = z.numel() * z.element_size(), z.untyped_storage().nbytes()
    if claimed > min(held, MOST_BYTES):
        raise ValueError(f"it claims {claimed:,} bytes, and holds {held:,}; at most {MOST_BYTES:,} are read")
    return z.detach().float().numpy()


_READERS: dict[str, Callable[[Path], Any]] = {".npy": _read_npy, ".npz": _read_npz, ".pt": _read_pt, ".pth": _read_pt}
