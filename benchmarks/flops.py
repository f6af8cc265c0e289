"""The floating-point operations that a training step asks for: its convolutions' multiplications and additions, counted."""

from collections.abc import Iterator
from typing import NamedTuple

from sharingan_jax.config.schema import Config
from sharingan_jax.model.dcgan import stage_sides

TAPS = 4
"""Of a kernel, along a side."""


class Operations(NamedTuple):
    """Operations a step: those that convolutions are defined by, less what meets the padding; those of Winograd's products."""

    direct: float
    winograd: float


class _Layer(NamedTuple):
    """A convolution's channels, the smaller of its two sides, and how many passes a step takes through it, all of equal work."""

    c_in: int
    c_out: int
    side: int
    passes: int


def step_operations(config: Config, *, batch: int) -> Operations:
    """Counts one step with an update of both networks. Norms, activations, Winograd's transforms and Adam are not counted.

    D goes forward three times (real, fake, fake after its update), backward to its kernels twice and to its inputs three times,
    but to the pictures once; G goes once each way, but not to the latents.
    """
    direct = winograd = 0.0
    for layer in _layers(config):
        a_tap = 2 * batch * layer.c_in * layer.c_out * layer.passes
        if layer.side == 1:
            direct += a_tap * TAPS**2
            winograd += a_tap * TAPS**2
        else:
            # One tap of the first and of the last position lies in the padding.
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
