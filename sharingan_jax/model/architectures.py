"""The choices of `model.gen.arch` and `model.disc.arch`. A new one is a pair of modules and a line in `ARCHITECTURES`."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from flax import nnx

from sharingan_jax.config.schema import Config, NetworkConfig
from sharingan_jax.model import dcgan, resnet
from sharingan_jax.model.convolutions import Convolutions
from sharingan_jax.model.functional import Net
from sharingan_jax.model.layers import NORMS, SpectralConv, minibatch_deviation
from sharingan_jax.model.symmetry import symmetry_of


class Architecture(NamedTuple):
    """A pair of modules: `gen` maps latents [B, nz] to images [B, H, W, C], `disc` maps images to logits [B].

    With classes, the latents end in the class of each image, one-hot, and `disc` takes these numbers as its `condition`.
    """

    gen: Callable[..., nnx.Module]
    disc: Callable[..., nnx.Module]


ARCHITECTURES = {
    "dcgan": Architecture(gen=dcgan.Generator, disc=dcgan.Discriminator),
    "dcgan_up": Architecture(gen=partial(dcgan.Generator, kernel_size=3), disc=partial(dcgan.Discriminator, kernel_size=3)),
    "dcgan_full": Architecture(gen=partial(dcgan.Generator, full_side=True), disc=partial(dcgan.Discriminator, full_side=True)),
    "resnet": Architecture(gen=resnet.Generator, disc=resnet.Discriminator),
}


def build_networks(config: Config, *, convolutions: Convolutions, axis_name: str | None) -> tuple[Net, Net]:
    """Return (generator, discriminator). `axis_name` names the devices of a `shard_map` that the batch is split over, if any."""
    model = config.model
    over_batch = {"ghost_batches": model.ghost_batches, "axis_name": axis_name}
    deviation = partial(minibatch_deviation, axis_name=axis_name) if model.minibatch_std else None

    def options(network: NetworkConfig) -> dict[str, Any]:
        return {
            "width": network.width,
            "size": config.data.size,
            "channels": config.data.channels,
            "conv": partial(SpectralConv, spectral_norm=network.spectral_norm, init=network.init, dtype=model.dtype),  # type: ignore[arg-type]
            "norm": partial(NORMS[network.norm], **over_batch) if network.norm == "batch" else NORMS[network.norm],
            "norm_position": network.norm_position,
            "convolutions": convolutions,
        }

    make_gen, make_disc = ARCHITECTURES[model.gen.arch].gen, ARCHITECTURES[model.disc.arch].disc
    of_gen = {"nz": model.nz + model.classes, "dropout": model.dropout, "symmetry": symmetry_of(config), **options(model.gen)}
    apart = model.minibatch_logit
    of_disc = {"classes": model.classes, "batch_statistic": deviation, "batch_logit": apart, **options(model.disc)}
    gen = Net(lambda normals: make_gen(normals=normals, **of_gen))
    disc = Net(lambda normals: make_disc(normals=normals, **of_disc))
    return gen, disc
