"""Feature spaces: functions from images uint8 [N, H, W, 3 or 1] to features float32 [N, D], in which images are compared."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sharingan_jax.errors import UserError, reason_of
from sharingan_jax.evaluation.defaults import ALWAYS
from sharingan_jax.evaluation.gradients import gradient_features
from sharingan_jax.evaluation.inception import RESIZE, inception_features, load_weights, published_file
from sharingan_jax.evaluation.turns import Turns, align, find_template, shrink, soften
from sharingan_jax.files import cache_folder, write_atomically

Features = Callable[[np.ndarray], np.ndarray]

RANDOM_SEED = 0
RANDOM_WIDTHS = (32, 64, 128)
BATCH = 250
LARGEST = 1e20
"""Size of a feature. KID's standard error takes its twelfth power, which float64 still holds."""


@dataclass(frozen=True)
class FeatureSpace:
    """A named function from images to features. `cache_key` names its features of a data set between starts; "" keeps none.

    `own` says that a user wrote the function, so that its speed is not known.
    """

    name: str
    describe: str
    function: Features
    cache_key: str = ""
    own: bool = False

    def __call__(self, images_u8: np.ndarray) -> np.ndarray:
        """Return the features of images uint8 [N, H, W, C], float32 [N, D], D ≥ 1, in [−`LARGEST`, `LARGEST`].

        Raise UserError if the function returns others.
        """
        found = np.asarray(self.function(images_u8))
        if found.ndim != 2 or len(found) != len(images_u8) or found.size == 0 or found.dtype.kind not in "fiu":
            got = f"{found.dtype} {list(found.shape)}"
            raise UserError(f"features={self.name}: expected numbers of shape [{len(images_u8)}, D], got {got}")
        with np.errstate(over="ignore"):  # A value beyond float32 becomes infinite.
            features = found.astype(np.float32)
        wrong = ~(np.abs(features) <= LARGEST)  # NaN too.
        if wrong.any():
            got = f"expected finite numbers from {-LARGEST:g} to {LARGEST:g}, got {found[wrong][0]:g}"
            raise UserError(f"features={self.name}: {got}. Scale the features.")
        return features

    def of_dataset(self, images_u8: np.ndarray, *, digest: str) -> np.ndarray:
        """Return the features of a data set's images. They are kept in the user's cache folder under the data's digest."""
        if not self.cache_key:
            return self(images_u8)
        path = kept_file(f"{self.cache_key}\0{digest}", ending=".npy")
        with suppress(Exception), path.open("rb") as file:  # A damaged file raises many kinds of error. It is written again.
            kept = np.load(file, allow_pickle=False)
            if kept.ndim == 2 and len(kept) == len(images_u8) and np.isfinite(kept).all():
                return np.asarray(kept)
        features = self(images_u8)
        with suppress(OSError, UserError):  # A cache that cannot be written costs time only.
            write_atomically(path, partial(np.save, arr=features))
        return features


def kept_file(key: str, *, ending: str) -> Path:
    """Return where the user's cache folder keeps what an evaluation computed from what `key` says."""
    name = hashlib.sha256(key.encode()).hexdigest()[:24]
    return cache_folder() / "sharingan_jax" / "features" / f"{name}{ending}"


def pixel_features(images_u8: np.ndarray) -> np.ndarray:
    """Return the pixels of images uint8 [N, H, W, C] at 32×32, float32 [N, 32·32·C] in [0, 1]."""
    return shrink(images_u8).reshape(len(images_u8), -1)


def make_aligned_features(train_u8: np.ndarray, turns: Turns) -> Features:
    """Return the feature function "aligned": lightly blurred pixels at 32×32 after the best turn towards the data's template.

    The template is the mean of the training images uint8 [N, H, W, C] after each is turned towards it (`find_template`). Without
    turns, this is `pixel_features` with a light blur.
    """
    template = find_template(soften(train_u8), turns)

    def features(images_u8: np.ndarray) -> np.ndarray:
        return align(soften(images_u8), template, turns).reshape(len(images_u8), -1)

    return features


def random_features(images_u8: np.ndarray) -> np.ndarray:
    """Return features of a fixed random convolutional network, float32 [N, 960].

    Three layers of 3×3 convolutions with stride 2, He-normal kernels of seed 0, and ReLU. Of each layer: the mean of each channel
    over positions and its standard deviation; of the last, also the means over the four quarters of the image. No training and no
    download, so the figures can be repeated anywhere. Random features separate textures and coarse shapes; they do not know
    objects. Paper: Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics", section 4.1.2, uses a random network
    in the same way. Images are uint8 [N, H, W, C]; grey ones are repeated to three channels.
    """
    kernels = random_kernels()
    if images_u8.shape[-1] == 1:
        images_u8 = images_u8.repeat(3, axis=-1)
    found = []
    for start in range(0, len(images_u8), BATCH):
        part = images_u8[start : start + BATCH]
        padded = np.concatenate([part, np.zeros((BATCH - len(part), *part.shape[1:]), np.uint8)])  # One shape, compiled once.
        found.append(np.asarray(_random_network(padded, kernels))[: len(part)])
    return np.concatenate(found)


def random_kernels() -> list[np.ndarray]:
    """Return the He-normal kernels of the fixed random network, float32 [3, 3, C, C'] for C' in RANDOM_WIDTHS."""
    rng, inputs, kernels = np.random.default_rng(RANDOM_SEED), 3, []
    for width in RANDOM_WIDTHS:
        kernels.append((rng.standard_normal((3, 3, inputs, width)) * np.sqrt(2 / (9 * inputs))).astype(np.float32))
        inputs = width
    return kernels


def random_maps(x: jax.Array, kernels: Sequence[jax.Array]) -> list[jax.Array]:
    """Return the layers of the fixed random network, float32 [B, H/2, W/2, 32], [B, H/4, W/4, 64] and [B, H/8, W/8, 128].

    Images x are float32 [B, H, W, 3] in [−1, 1]; `kernels` are those of `random_kernels`.
    """
    maps = []
    for kernel in kernels:
        convolved = lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=lax.Precision.HIGHEST
        )
        x = jax.nn.relu(convolved)
        maps.append(x)
    return maps


@jax.jit
def _random_network(images_u8: jax.Array, kernels: Sequence[jax.Array]) -> jax.Array:
    maps = random_maps(images_u8.astype(jnp.float32) / 127.5 - 1.0, kernels)
    pooled = [pool for x in maps for pool in (x.mean((1, 2)), x.std((1, 2)))]
    x = maps[-1]
    top, left = x.shape[1] // 2, x.shape[2] // 2
    pooled += [x[:, rows, columns].mean((1, 2)) for rows in _halves(top) for columns in _halves(left)]
    return jnp.concatenate(pooled, axis=-1)


def _halves(middle: int) -> tuple[slice, slice]:
    return slice(None, middle), slice(middle, None)


def make_spaces(names: Sequence[str], *, train_u8: np.ndarray, turns: Turns) -> list[FeatureSpace]:
    """Return the feature spaces called `names`: those of `ALWAYS`, inception, inception:WEIGHTS or FILE.py:function.

    "aligned" is made for the training images uint8 [N, H, W, C] and `turns`. A user's function gets grey images with three equal
    channels. Raise UserError, one line, for an unknown name, for a file without the function, and if Inception's weights cannot
    be had.
    """
    spaces = []
    for name in names:
        match name.partition(":"):
            case ("pixels", "", _):
                spaces.append(FeatureSpace(name, "pixels at 32×32", pixel_features))
            case ("aligned", "", _):
                described = f"pixels at 32×32, lightly blurred, at the best of {turns.count} turns"
                spaces.append(FeatureSpace(name, described, make_aligned_features(train_u8, turns)))
            case ("random", "", _):
                spaces.append(FeatureSpace(name, "a fixed random convolutional network", random_features))
            case ("gradients", "", _):
                spaces.append(FeatureSpace(name, "quantiles of gradients at every scale", gradient_features))
            case ("inception", _, path):
                spaces.append(_inception_space(name, Path(path).expanduser() if path else None))
            case (python, ":", called) if python.endswith(".py") and called:
                spaces.append(_user_space(Path(python).expanduser(), called))
            case _:
                expected = f"expected {', '.join(ALWAYS)}, inception, inception:WEIGHTS or FILE.py:function"
                raise UserError(f"features={name}: {expected}.")
    return spaces


def space_key(name: str) -> str:
    """Return by what the feature space `name` differs from another one of its name: the digest of the file it is made of.

    A space that needs no file has its name; one whose file is not there has "". Nothing is downloaded or run.
    """
    kind, _, rest = name.partition(":")
    if kind == "inception":
        path = Path(rest).expanduser() if rest else published_file()
        return f"inception {RESIZE} {_file_digest(path)}" if path.is_file() else ""
    if kind.endswith(".py"):
        path = Path(kind).expanduser()
        return f"{_file_digest(path)} {rest}" if path.is_file() else ""
    return name


def space_keys(names: Sequence[str]) -> dict[str, str]:
    """Return the `space_key` of each feature space by name."""
    return {name: space_key(name) for name in names}


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _inception_space(name: str, path: Path | None) -> FeatureSpace:
    function = partial(inception_features, weights=load_weights(path))
    return FeatureSpace("inception", f"FID's InceptionV3, {RESIZE}", function, cache_key=space_key(name))


def _user_space(path: Path, function: str) -> FeatureSpace:
    place = f"features={path}:{function}"
    try:
        key = space_key(f"{path}:{function}")
        spec = importlib.util.spec_from_file_location(f"sharingan_jax_features_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # Dataclasses and pickle look their module up.
        spec.loader.exec_module(module)
    except FileNotFoundError:
        raise UserError(f"{place}: expected a Python file, found none.") from None
    except (Exception, SystemExit) as error:  # The user's code may raise anything.
        raise UserError(f"{place}: the file does not run: {type(error).__name__}: {reason_of(error)}") from error
    found: Any = getattr(module, function, None)
    if not callable(found):
        raise UserError(f"{place}: the file has no function called {function}.")

    def features(images_u8: np.ndarray) -> np.ndarray:
        colour = images_u8.repeat(3, axis=-1) if images_u8.shape[-1] == 1 else images_u8.copy()  # It may write into them.
        try:
            return np.asarray(found(colour))
        except (Exception, SystemExit) as error:
            raise UserError(f"{place}: the function failed: {type(error).__name__}: {reason_of(error)}") from error

    return FeatureSpace(f"{path.stem}.{function}", f"{path.name}:{function}", features, cache_key=key, own=True)
