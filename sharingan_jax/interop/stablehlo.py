"""The sampler as one file: StableHLO with the weights in it, which any JAX runs without this package's networks."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jax import Array, export

from sharingan_jax.config.schema import Config
from sharingan_jax.errors import UserError
from sharingan_jax.gan.gan import build_gan
from sharingan_jax.gan.step import sample_images
from sharingan_jax.run.load import SavedRun
from sharingan_jax.run.sampling import Sampler

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export_sampler(saved: SavedRun, *, statistics: Literal["batch", "running"]) -> bytes:
    """`float32 [b, nz] -> float32 [b, H, W, C]` for any b, as `jax.export` serialises it, for all of JAX's platforms.

    The convolutions are XLA's own, since the file does not know where it will run; the pictures are those of `sample` within
    rounding.
    """
    gan = build_gan(_with_direct_convolutions(saved.config))
    gen = jax.device_get(saved.state.gen)

    def sample(z: Array) -> Array:
        with jax.default_matmul_precision(saved.config.train.precision):
            return sample_images(gan, gen, z, statistics=statistics)

    z = jax.ShapeDtypeStruct(export.symbolic_shape(f"b, {gan.nz}"), np.float32)
    return bytes(export.export(jax.jit(sample), platforms=PLATFORMS)(z).serialize())


def load_sampler(path: Path) -> Sampler:
    """The sampler in a file that `export_sampler` made. Raises UserError where it is none."""
    try:
        exported = export.deserialize(bytearray(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"--model={path}: no such file; `main.py export --format stablehlo` makes one") from None
    except Exception as error:  # The deserialiser meets other bytes with whatever its parser raises.
        raise UserError(
            f"--model={path}: not a file that `main.py export --format stablehlo` made ({type(error).__name__})"
        ) from None
    if len(exported.in_avals) != 1 or exported.in_avals[0].ndim != 2:
        raise UserError(f"--model={path}: holds a function of {exported.in_avals}, and a sampler takes latents [b, nz]")
    return Sampler(path.name, nz=int(exported.in_avals[0].shape[1]), generate=jax.jit(exported.call))


def _with_direct_convolutions(config: Config) -> Config:
    return replace(config, model=replace(config.model, conv_impl="direct"))
