"""FID's InceptionV3: its layers, the features of images, and its published weights.

Paper: Szegedy et al. 2015, "Rethinking the Inception Architecture"; Heusel et al. 2017 for its use in FID. Torch: pytorch-fid's
`InceptionV3`. It is the TensorFlow graph of 2015-12-05, which differs from torchvision's network in three average pools (A, C and
the first E do not count the padding), in one max pool (the last E), and in its weights.
"""

import hashlib
import http.client
import os
import pickle
import urllib.request
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx
from jax import Array, lax

from sharingan_jax.errors import UserError, reason_of
from sharingan_jax.files import ABANDONED_AFTER, cache_folder, remove_hidden_siblings, write_atomically

Weights = dict[str, np.ndarray]
"""The arrays by PyTorch's names. Kernels are transposed from PyTorch's [out, in, h, w] to [h, w, in, out]."""

Take = Callable[[str, tuple[int, ...]], Any]
"""Return the array with a name and a shape: `take("Conv2d_1a_3x3.bn.bias", (32,))`."""

RESIZE = "pytorch-fid: bilinear without antialias to 299"
"""How images are resized, for reports. Other tools resize differently, and their FIDs differ."""

SIDE = 299
DIMENSIONS = (64, 192, 768, 2048)
"""The number of features of each block."""

URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
SIZE = 95_628_359  # Bytes.
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
TIMEOUT = 30.0  # Seconds without an answer.


@dataclass(frozen=True)
class Conv:
    """A row of the table: a convolution without bias, batch normalisation and ReLU. Torch: `BasicConv2d`."""

    name: str
    c_out: int
    kernel: int | tuple[int, int]  # (h, w), or the side of a square.
    stride: int = 1
    padding: Literal["SAME", "VALID"] = "SAME"


@dataclass(frozen=True)
class Mixed:
    """A row of the table: branches that read the same input and are concatenated. `name` starts the names of their layers."""

    name: str
    branches: "Branches"


Row = Conv | Mixed | tuple[Any, ...] | Callable[[Array], Array]
"""A convolution, a block, branches within a branch, or a pool."""

Branches = tuple[list[Row], ...]

shrinking_max_pool = partial(nnx.max_pool, window_shape=(3, 3), strides=(2, 2), padding="VALID")
max_pool = partial(nnx.max_pool, window_shape=(3, 3), strides=(1, 1), padding="SAME")
avg_pool = partial(nnx.avg_pool, window_shape=(3, 3), strides=(1, 1), padding="SAME", count_include_pad=False)


def mixed_a(pool: int) -> Branches:
    """Return the branches at 35 × 35; the pooled one has `pool` channels."""
    return (
        [Conv("branch1x1", 64, 1)],
        [Conv("branch5x5_1", 48, 1), Conv("branch5x5_2", 64, 5)],
        [Conv("branch3x3dbl_1", 64, 1), Conv("branch3x3dbl_2", 96, 3), Conv("branch3x3dbl_3", 96, 3)],
        [avg_pool, Conv("branch_pool", pool, 1)],
    )


def mixed_b() -> Branches:
    """Return the branches from 35 × 35 to 17 × 17."""
    return (
        [Conv("branch3x3", 384, 3, 2, "VALID")],
        [Conv("branch3x3dbl_1", 64, 1), Conv("branch3x3dbl_2", 96, 3), Conv("branch3x3dbl_3", 96, 3, 2, "VALID")],
        [shrinking_max_pool],
    )


def mixed_c(c: int) -> Branches:
    """Return the branches at 17 × 17, `c` channels wide inside."""
    wide, tall = (1, 7), (7, 1)
    return (
        [Conv("branch1x1", 192, 1)],
        [Conv("branch7x7_1", c, 1), Conv("branch7x7_2", c, wide), Conv("branch7x7_3", 192, tall)],
        [
            Conv("branch7x7dbl_1", c, 1), Conv("branch7x7dbl_2", c, tall), Conv("branch7x7dbl_3", c, wide),
            Conv("branch7x7dbl_4", c, tall), Conv("branch7x7dbl_5", 192, wide),
        ],
        [avg_pool, Conv("branch_pool", 192, 1)],
    )  # fmt: skip


def mixed_d() -> Branches:
    """Return the branches from 17 × 17 to 8 × 8."""
    return (
        [Conv("branch3x3_1", 192, 1), Conv("branch3x3_2", 320, 3, 2, "VALID")],
        [
            Conv("branch7x7x3_1", 192, 1), Conv("branch7x7x3_2", 192, (1, 7)), Conv("branch7x7x3_3", 192, (7, 1)),
            Conv("branch7x7x3_4", 192, 3, 2, "VALID"),
        ],
        [shrinking_max_pool],
    )  # fmt: skip


def mixed_e(pool: Callable[[Array], Array]) -> Branches:
    """Return the branches at 8 × 8. Two of them end in two branches each."""
    wide, tall = (1, 3), (3, 1)
    return (
        [Conv("branch1x1", 320, 1)],
        [Conv("branch3x3_1", 384, 1), ([Conv("branch3x3_2a", 384, wide)], [Conv("branch3x3_2b", 384, tall)])],
        [
            Conv("branch3x3dbl_1", 448, 1), Conv("branch3x3dbl_2", 384, 3),
            ([Conv("branch3x3dbl_3a", 384, wide)], [Conv("branch3x3dbl_3b", 384, tall)]),
        ],
        [pool, Conv("branch_pool", 192, 1)],
    )  # fmt: skip


BLOCKS: tuple[list[Row], ...] = (
    [Conv("Conv2d_1a_3x3", 32, 3, 2, "VALID"), Conv("Conv2d_2a_3x3", 32, 3, 1, "VALID"), Conv("Conv2d_2b_3x3", 64, 3),
     shrinking_max_pool],  # [B, 73, 73, 64]
    [Conv("Conv2d_3b_1x1", 80, 1), Conv("Conv2d_4a_3x3", 192, 3, 1, "VALID"), shrinking_max_pool],  # [B, 35, 35, 192]
    [Mixed("Mixed_5b", mixed_a(32)), Mixed("Mixed_5c", mixed_a(64)), Mixed("Mixed_5d", mixed_a(64)),
     Mixed("Mixed_6a", mixed_b()), Mixed("Mixed_6b", mixed_c(128)), Mixed("Mixed_6c", mixed_c(160)),
     Mixed("Mixed_6d", mixed_c(160)), Mixed("Mixed_6e", mixed_c(192))],  # [B, 17, 17, 768]
    [Mixed("Mixed_7a", mixed_d()), Mixed("Mixed_7b", mixed_e(avg_pool)), Mixed("Mixed_7c", mixed_e(max_pool))],  # [B, 8, 8, 2048]
)  # fmt: skip
"""The network: its four blocks, whose outputs pytorch-fid numbers 0 to 3."""


class ConvNormRelu(nnx.Module):
    """The layer of a `Conv` row: ReLU(batch norm(kernel * x)), with stored statistics and eps 1e-3."""

    eps = 1e-3

    def __init__(self, row: Conv, c_in: int, take: Take) -> None:
        self.stride, self.padding = row.stride, row.padding
        size = row.kernel if isinstance(row.kernel, tuple) else (row.kernel, row.kernel)
        self.kernel = nnx.Param(take(f"{row.name}.conv.weight", (*size, c_in, row.c_out)))
        self.scale = nnx.Param(take(f"{row.name}.bn.weight", (row.c_out,)))
        self.bias = nnx.Param(take(f"{row.name}.bn.bias", (row.c_out,)))
        self.mean = nnx.Param(take(f"{row.name}.bn.running_mean", (row.c_out,)))
        self.var = nnx.Param(take(f"{row.name}.bn.running_var", (row.c_out,)))

    def __call__(self, x: Array) -> Array:
        """Map [B, H, W, in] to [B, H', W', out]."""
        strides, layout = (self.stride, self.stride), ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(
            x, self.kernel[...], strides, self.padding, dimension_numbers=layout, precision=lax.Precision.HIGHEST
        )
        factor = self.scale[...] / jnp.sqrt(self.var[...] + self.eps)  # [out]
        offset = self.bias[...] - self.mean[...] * factor  # [out]
        return jax.nn.relu(x * factor[None, None, None] + offset[None, None, None])


class Fork(nnx.Module):
    """Branches that read the same input [B, H, W, in], and whose outputs are concatenated."""

    def __init__(self, branches: list[Callable[[Array], Array]]) -> None:
        self.branches = nnx.List(branches)

    def __call__(self, x: Array) -> Array:
        """Map [B, H, W, in] to [B, H', W', sum of the branches' channels]."""
        return jnp.concatenate([branch(x) for branch in self.branches], axis=-1)


class InceptionV3(nnx.Module):
    """The first `block` + 1 blocks of the network, with arrays from `take`."""

    def __init__(self, take: Take, *, block: int) -> None:
        self.blocks, _ = _chain([row for rows in BLOCKS[: block + 1] for row in rows], 3, take)

    def __call__(self, x: Array) -> Array:
        """Map images [B, 299, 299, 3] in [−1, 1] to features [B, D], the means over all positions."""
        return jnp.mean(self.blocks(x), axis=(1, 2))


def _chain(rows: list[Row], c_in: int, take: Take) -> tuple[nnx.Sequential, int]:
    """Return the layers of the rows, one after the other, and the number of their output channels."""
    layers: list[Callable[[Array], Array]] = []
    for row in rows:
        if isinstance(row, Conv):
            layers.append(ConvNormRelu(row, c_in, take))
            c_in = row.c_out
        elif isinstance(row, Mixed | tuple):
            prefix, branches = (f"{row.name}.", row.branches) if isinstance(row, Mixed) else ("", row)
            chains = [_chain(branch, c_in, partial(_take_below, take, prefix)) for branch in branches]
            layers.append(Fork([chain for chain, _ in chains]))
            c_in = sum(c_out for _, c_out in chains)
        else:
            layers.append(row)
    return nnx.Sequential(*layers), c_in


def _take_below(take: Take, prefix: str, name: str, shape: tuple[int, ...]) -> Any:
    return take(prefix + name, shape)


def inception_features(images_u8: np.ndarray, weights: Weights, *, block: int = 3, batch: int = 50) -> np.ndarray:
    """Return the features [N, D] of images, float32: the means over all positions of the output of block 0, 1, 2 or 3.

    `images_u8` is [N, H, W, C], C 1 or 3; a grey image counts as three equal channels. D is 64, 192, 768 or 2048. FID uses
    block 3. Images are scaled to [0, 1], resized (see `RESIZE`) and scaled to [−1, 1]. The last batch is padded, so that one
    program computes all batches. Torch: pytorch-fid's `InceptionV3([block])`, with means over positions as in `fid_score.py`.
    """
    shape = images_u8.shape
    if images_u8.dtype != np.uint8 or len(shape) != 4 or shape[-1] not in (1, 3) or 0 in shape:
        raise UserError(f"images: expected uint8 [N, H, W, 1 or 3], got {images_u8.dtype} {list(shape)}. Convert the images.")
    if block not in range(len(BLOCKS)):
        raise UserError(f"block={block}: expected 0, 1, 2 or 3. FID uses 3.")
    batch = min(batch, len(images_u8))
    on_device = jax.device_put(weights)
    features = []
    for start in range(0, len(images_u8), batch):
        part = images_u8[start : start + batch]
        padded = np.pad(part, [(0, batch - len(part)), (0, 0), (0, 0), (0, 0)])
        if padded.shape[-1] == 1:
            padded = np.repeat(padded, 3, axis=-1)
        features.append(np.asarray(_features(on_device, _resize(padded), block=block))[: len(part)])
    return np.concatenate(features)  # [N, D]


@jax.jit
def _resize(images_u8: Array) -> Array:
    """Map images [B, H, W, 3] to [B, 299, 299, 3] in [−1, 1]. It is compiled for each H and W, the network only for each B."""
    x = images_u8.astype(jnp.float32) / 255
    return 2 * jax.image.resize(x, (len(x), SIDE, SIDE, 3), "bilinear", antialias=False) - 1


@partial(jax.jit, static_argnames="block")
def _features(weights: dict[str, Array], x: Array, *, block: int) -> Array:
    return InceptionV3(lambda name, _: weights[name], block=block)(x)  # [B, D]


def load_weights(path: Path | None = None) -> Weights:
    """Return the weights from a local file, or, without a `path`, from their published address.

    A `.pth` file must be the published one, by size and SHA-256. A `.safetensors` file has the tensors under PyTorch's names;
    its digest is not known, so only names and shapes are checked. The download is kept in the user's cache folder and checked
    at every use. Neither needs torch, and no code in a file is executed. Raise UserError with one line that says what to do.
    """
    if path is None:
        return _weights_of(_read_pth(_download()), "the published weights")
    if path.suffix.lower() not in (".pth", ".safetensors"):
        raise UserError(f"{path}: expected a .pth or .safetensors file, got {path.suffix or 'no ending'}. Download {URL}")
    try:
        if path.suffix.lower() == ".safetensors":
            return _weights_of(safetensors.numpy.load_file(path), str(path))
        if wrong := _unlike_published(path):
            raise UserError(f"{path}: not FID's Inception weights: {wrong}. Download {URL} again.")
        return _weights_of(_read_pth(path), str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: expected FID's Inception weights, found none. Download {URL}") from None
    except (OSError, safetensors.SafetensorError, KeyError) as error:  # A KeyError names a type that numpy lacks.
        raise UserError(f"{path}: not readable: {reason_of(error)}. Download {URL}") from None


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of all weights by name, in the network's order."""
    shapes: dict[str, tuple[int, ...]] = {}

    def record(name: str, shape: tuple[int, ...]) -> np.ndarray:
        shapes[name] = shape
        return np.zeros(())

    InceptionV3(record, block=len(BLOCKS) - 1)
    return shapes


def _weights_of(tensors: dict[str, np.ndarray], source: str) -> Weights:
    """Return the network's arrays from PyTorch's tensors. Others (the classifier, counters) are ignored."""
    weights = {}
    if "fc.bias" in tensors and tensors["fc.bias"].shape != (1008,):
        got = f"a network with {tensors['fc.bias'].size} classes, such as torchvision's"
        raise UserError(f"{source}: expected FID's Inception weights, with 1008 classes, got {got}. Download {URL}")
    for name, shape in expected_shapes().items():
        array = tensors.get(name)
        if array is not None and array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)  # [h, w, in, out]
        if array is None or array.shape != shape:
            got = "none" if array is None else f"{list(array.shape)}"
            raise UserError(f"{source}: expected {name} {list(shape)} ([h, w, in, out]), got {got}. Download {URL}")
        weights[name] = np.ascontiguousarray(array, np.float32)
    return weights


def _unlike_published(path: Path) -> str | None:
    """Return how a file differs from the published one in size or SHA-256, or None. Raise OSError."""
    if (size := path.stat().st_size) != SIZE:
        return f"expected {SIZE:,} bytes, got {size:,}"
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return None if sha256 == SHA256 else f"expected SHA-256 {SHA256[:12]}…, got {sha256[:12]}…"


def published_file() -> Path:
    """Return where the user's cache folder keeps the published weights. They may not be there."""
    return cache_folder() / "sharingan_jax" / URL.rpartition("/")[2]


def _download() -> Path:
    """Return the published file in the user's cache folder, downloaded if it is missing or damaged."""
    path = published_file()
    try:
        if path.is_file() and not _unlike_published(path):
            return path
        with urllib.request.urlopen(URL, timeout=TIMEOUT) as answer:
            write_atomically(path, partial(_copy_published, answer))
        remove_hidden_siblings(path.parent, of=path.name, older_than=ABANDONED_AFTER)
    except (OSError, http.client.HTTPException) as error:
        hint = f"Download it by other means, and save it as {path}"
        raise UserError(f"{URL}: FID's Inception weights could not be downloaded: {reason_of(error)}. {hint}") from None
    return path


def _copy_published(answer: IO[bytes], file: IO[bytes]) -> None:
    """Copy an answer to a file. Raise OSError if its bytes are not those of the published file."""
    digest, size = hashlib.sha256(), 0
    while size <= SIZE and (part := answer.read(2**20)):
        file.write(part)
        digest.update(part)
        size += len(part)
    if size != SIZE:
        raise OSError(f"expected {SIZE:,} bytes, got {'more' if size > SIZE else f'{size:,}'}")
    if digest.hexdigest() != SHA256:
        raise OSError(f"expected SHA-256 {SHA256[:12]}…, got {digest.hexdigest()[:12]}…")


class _TensorUnpickler(pickle.Unpickler):
    """A reader of one pickle that makes dictionaries and numpy arrays. Any other object in the file is an error."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a Python object that the file names."""
        allowed: dict[str, Any] = {
            "collections.OrderedDict": OrderedDict, "torch.FloatStorage": "<f4", "torch.LongStorage": "<i8",
            "torch._utils._rebuild_tensor": _view, "torch._utils._rebuild_tensor_v2": _view,
            "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
        }  # fmt: skip
        if f"{module}.{name}" not in allowed:
            raise pickle.UnpicklingError(f"expected only tensors, got {module}.{name}")
        return allowed[f"{module}.{name}"]

    def persistent_load(self, entry: tuple[Any, ...]) -> np.ndarray:
        """Return the storage ("storage", type, key, device, length, ...), whose numbers follow the pickle in the file."""
        _, kind, key, _, length = entry[:5]
        return self.storages.setdefault(key, np.zeros(length, kind))


def _view(storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> np.ndarray:
    """Return a tensor as a view of its storage."""
    size = storage.itemsize
    return np.ndarray(shape, storage.dtype, storage, offset * size, tuple(stride * size for stride in strides))


def _read_pth(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of the published file. It has the format that `torch.save` wrote before PyTorch 1.6.

    The file has four pickles (magic number, version, machine, state dict), a pickled list of storage keys, and for each key the
    storage's length in 8 bytes and its little-endian numbers.
    """
    try:
        with path.open("rb") as file:
            for _ in range(3):
                _TensorUnpickler(file).load()
            unpickler = _TensorUnpickler(file)
            tensors: dict[str, np.ndarray] = unpickler.load()
            for key in _TensorUnpickler(file).load():
                file.seek(8, os.SEEK_CUR)
                storage = unpickler.storages[key]
                if file.readinto(storage.data) != storage.nbytes:
                    raise EOFError("the file ends too early")
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError) as error:
        got = f"expected a state dict as PyTorch saved it before 1.6, got another file: {reason_of(error)}"
        raise UserError(f"{path}: {got}. Save the state dict as .safetensors, and give that file.") from None
    return tensors
