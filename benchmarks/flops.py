"""The floating-point operations of a training step: its convolutions' multiplications and additions, counted."""

from collections.abc import Iterator
from typing import NamedTuple

from sharingan_jax.config.schema import Config
from sharingan_jax.model.dcgan import stage_sides

TAPS = 4
"""Taps of a kernel along a side."""


class Operations(NamedTuple):
    """Operations a step: `direct` by the definition of a convolution, without the padding; `winograd` of Winograd's products."""

    direct: float
    winograd: float


class _Layer(NamedTuple):
    """A convolution's channels, the smaller of its two sides, and how many passes a step takes through it, all of equal work."""

    c_in: int
    c_out: int
    side: int
    passes: int


def step_operations(config: Config, *, batch: int) -> Operations:
    """Count one step with an update of both networks. Norms, activations, Winograd's transforms and Adam are not counted.

    D runs forward three times (real, fake, fake after its update), backward to its kernels twice and to its inputs three times,
    but to the images once. G runs once in each direction, but not back to the latents.
    """
    direct = winograd = 0.0
    for layer in _layers(config):
        a_tap = 2 * batch * layer.c_in * layer.c_out * layer.passes
        if layer.side == 1:
            direct += a_tap * TAPS**2
            winograd += a_tap * TAPS**2
        else:
            # At the first and at the last position one tap is in the padding.
            direct += a_tap * (TAPS * layer.side - 2) ** 2
            winograd += a_tap * 9 * layer.side**2
    return Operations(direct, winograd)


def _layers(config: Config) -> Iterator[_Layer]:
    size, channels, model = config.data.size, config.data.channels, config.model
    first, *sides = stage_sides(size)
    width = model.gen.width * size // 8
    yield _Layer(model.nz, width, 1, passes=2)
    for side in sides:
        yield _Layer(width, channels if side == size else width // 2, side // 2, passes=3)
        width //= 2
    width = model.disc.width
    yield _Layer(channels, width, size // 2, passes=6)
    for side in [*sides[-3::-1], first]:
        yield _Layer(width, 2 * width, side, passes=8)
        width *= 2
    yield _Layer(width, 1, 1, passes=8)
