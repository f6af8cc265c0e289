"""The sampler as one file: StableHLO with the weights inside, which JAX runs without this package's networks."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, export

from sharingan_jax.config.schema import Config
from sharingan_jax.errors import UserError
from sharingan_jax.gan.ema import Weights, generator_of
from sharingan_jax.gan.gan import build_gan
from sharingan_jax.gan.state import TrainState
from sharingan_jax.gan.step import sample_images
from sharingan_jax.run.sampling import Sampler

MARK = b" sha256 of all bytes before: "
"""Ends a file, with the digest behind it. `jax.export` reads such a file too: it ignores what follows its own bytes."""
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export_sampler(
    config: Config, state: TrainState, *, statistics: Literal["batch", "running"], weights: Weights | None = None
) -> bytes:
    """Return the function `z [b, nz] -> images [b, H, W, C]`, float32, for any b, serialised by `jax.export` for PLATFORMS.

    With `model.classes` it has a second argument, the class of each image, one-hot [b, classes].

    The weights inside are by default averaged if the run keeps an average (`generator_of`). The function uses XLA's own
    convolutions, since it may run on any platform. So its images differ from those of `sample` by rounding.
    """
    gan = build_gan(replace(config, model=replace(config.model, conv_impl="direct")))
    gen = jax.device_get(generator_of(state, weights=weights))

    def sample(*parts: Array) -> Array:
        with jax.default_matmul_precision(config.train.precision):
            return sample_images(gan, gen, jnp.concatenate(parts, axis=1) if len(parts) > 1 else parts[0], statistics=statistics)

    count = export.symbolic_shape("b")
    parts = [jax.ShapeDtypeStruct((*count, width), np.float32) for width in (gan.nz, gan.classes) if width]
    content = bytes(export.export(jax.jit(sample), platforms=PLATFORMS)(*parts).serialize())
    return content + MARK + sha256(content).digest()


def load_sampler(path: Path) -> Sampler:
    """Load a sampler from a file written by `export_sampler`. Raise UserError if the file is something else."""
    hint = "Write one with `export --format stablehlo`."
    try:
        content, mark, digest = path.read_bytes().rpartition(MARK)
        if not mark or sha256(content).digest() != digest:
            expected = "expected a file written by `export --format stablehlo`, got another one, or one that was damaged since"
            raise UserError(f"model={path}: {expected}. {hint}")
        exported = export.deserialize(bytearray(content))
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"model={path}: no such file. {hint}") from None
    except UserError:
        raise
    except Exception as error:  # On other bytes the deserialiser raises whatever its parser raises.
        expected = "expected a file written by `export --format stablehlo`, got one that does not parse"
        raise UserError(f"model={path}: {expected} ({type(error).__name__}). {hint}") from None
    if len(exported.in_avals) not in (1, 2) or any(part.ndim != 2 for part in exported.in_avals):
        expected = "expected a function of latents [b, nz], or of these and classes"
        raise UserError(f"model={path}: {expected}, got one of {exported.in_avals}. {hint}")
    nz, *classes = (int(part.shape[1]) for part in exported.in_avals)
    image_shape = tuple(map(int, exported.out_avals[0].shape[1:]))

    @jax.jit
    def generate(z: Array) -> Array:
        parts = [z[:, :nz], z[:, nz:]] if classes else [z]
        return exported.call(*parts)

    return Sampler(path.name, nz=nz, generate=generate, image_shape=image_shape, classes=sum(classes))
