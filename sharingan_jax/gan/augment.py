"""Differentiable augmentation: random changes of every image that D sees, real or generated, through which G's gradient passes.

Paper: Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training"; Karras et al. 2020, "Training Generative
Adversarial Networks with Limited Data", for a probability below 1, which keeps the changes from appearing in samples.

Images are moved, scaled and turned by products with matrices of interpolation weights, one for each axis. A turn is three shears
(Unser et al. 1995, "Convolution-Based Interpolation for Fast, High-Quality Rotation of Images"). So no pixel is gathered: the
gradient of a gather is a scatter, which is slow, and whose sums have no fixed order on a GPU.

A part with no effect on an image, because the draw says so, is exactly the identity.

In images of four channels the last is opacity: colours change without it, and what a part uncovers is clear.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from sharingan_jax.config.schema import AugmentConfig

Probability = float | Array
Augment = Callable[[Array, Array, Probability], Array]
"""A change of all images that D sees: `augment(images [B, H, W, C], keys [B], probability)`, with one key an image, the same for
real and fake images of a step. G's gradient goes through it."""

Part = Callable[[Array, Array], Array]
"""One change of one image: `part(image [H, W, C], draws)`. The draws, float [4], are from U(−1, 1)."""


COLOURS, CLEAR = 3, -1.0
"""The channels that come before opacity, and the opacity of what cannot be seen."""


def identity(images: Array, _: Array, __: Probability = 0.0) -> Array:
    """Return the images unchanged."""
    return images


def build_augment(config: AugmentConfig) -> Augment:
    """Return the augmentation of a configuration: `identity` if everything is off."""
    parts = [PARTS[name](config) for name in PARTS if getattr(config, name)]
    return partial(_augment, parts=parts) if parts else identity


def _augment(images: Array, keys: Array, probability: Probability, *, parts: list[Part]) -> Array:
    def augment_image(image: Array, key: Array) -> Array:
        # As float32 in float64 too, so that the same seed makes the same changes.
        drawn = jax.random.uniform(key, (len(parts), 5), "float32")
        chosen = (drawn[:, 0] < probability)[:, None]  # [P, 1]
        draws = jnp.where(chosen, 2 * drawn[:, 1:] - 1, 0).astype(image.dtype)  # [P, 4]; 0 changes nothing.
        for part, own in zip(parts, draws, strict=True):
            image = part(image, own)
        return image

    return jax.vmap(augment_image)(images, keys)


def add_noise(images: Array, keys: Array, *, std: float | Array) -> Array:
    """Add N(0, std²) to each value of images [B, H, W, C]: instance noise, which gives real and fake images a common support.

    Paper: Sønderby et al. 2017, "Amortised MAP Inference for Image Super-resolution", section 3.2; Arjovsky & Bottou 2017,
    "Towards Principled Methods for Training Generative Adversarial Networks", section 3.
    """
    draw = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 2), images.shape[1:], "float32"))
    return images + (std * draw(keys)).astype(images.dtype)


def noise_std(step: Array, *, start: float, steps: int) -> float | Array:
    """Return the standard deviation of the noise at a step: `start`, falling to 0 over `steps` steps; constant if they are 0."""
    return start if steps == 0 else start * jnp.maximum(0.0, 1 - (step - 1) / steps)


def brighten(image: Array, draws: Array, *, brightness: float) -> Array:
    """Add U(−brightness, brightness) to all values."""
    return image + brightness * draws[0]


def saturate(image: Array, draws: Array, *, saturation: float) -> Array:
    """Multiply the distance of each value to its pixel's mean by 1 + U(−saturation, saturation)."""
    return image + saturation * draws[0] * (image - jnp.mean(image, 2, keepdims=True))


def change_contrast(image: Array, draws: Array, *, contrast: float) -> Array:
    """Multiply the distance of each value to the image's mean by 1 + U(−contrast, contrast)."""
    return image + contrast * draws[0] * (image - jnp.mean(image, keepdims=True))


def mirror(image: Array, draws: Array) -> Array:
    """Exchange left and right if the draw is positive."""
    return jnp.where(draws[0] > 0, image[:, ::-1], image)


def rotate(image: Array, draws: Array, *, rotation: float, fill: float) -> Array:
    """Turn the image about its centre by an angle from U(−rotation, rotation) degrees, anticlockwise. `fill` covers the corners.

    The nearest quarter turn is exact. The rest, at most 45°, is three shears: along rows by tan(angle / 2), along columns by
    −sin(angle), and along rows again.
    """
    angle = rotation * draws[0]  # degrees
    quarters = jnp.round(angle / 90).astype(int) if rotation > 45 else 0
    if rotation > 45:
        four = jnp.stack([jnp.rot90(image, k) for k in range(4)])
        image = jnp.einsum("k,khwc->hwc", jax.nn.one_hot(quarters % 4, 4, dtype=image.dtype), four, precision="highest")
    rest = jnp.deg2rad(angle - 90 * quarters)
    image = _shear(image, jnp.tan(rest / 2), fill=fill)
    image = _shear(image.swapaxes(0, 1), -jnp.sin(rest), fill=fill).swapaxes(0, 1)
    return _shear(image, jnp.tan(rest / 2), fill=fill)


def rescale(image: Array, draws: Array, *, scale: float, fill: float) -> Array:
    """Scale the image about its centre by 1 + U(−scale, scale)."""
    weights = _weights(image.shape[0], factor=1 + scale * draws[0])  # [H, H]
    return _resample(image, weights, weights, fill=fill)


def shift(image: Array, draws: Array, *, share: float, fill: float) -> Array:
    """Move the image by whole pixels, from U(−share, share) of its side, along both axes."""
    side = image.shape[0]
    rows, columns = (_weights(side, offset=jnp.round(side * share * draw)) for draw in draws[:2])
    return _resample(image, rows, columns, fill=fill)


def cut_out(image: Array, draws: Array, *, share: float, fill: float) -> Array:
    """Cover a square with `fill`: its side is a `share` of the image's, its centre anywhere. A draw of 0 covers nothing.

    Paper: DeVries & Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout".
    """
    side = image.shape[0]
    centre = (side - 1) / 2 * (1 + draws[:2])  # row and column
    offsets = [jnp.arange(side) - centre[axis] for axis in (0, 1)]
    rows, columns = ((-share * side / 2 <= offset) & (offset < share * side / 2) for offset in offsets)
    covered = rows[:, None, None] & columns[None, :, None] & (draws[2] != 0)
    return jnp.where(covered, jnp.asarray(_filling(image, fill), image.dtype), image)


def _filling(image: Array, fill: float) -> Array | float:
    """Return what covers a pixel of an image [H, W, C]: `fill` in every channel; with opacity [1, 1, 4], clear and `fill`."""
    return jnp.asarray([[[*[fill] * COLOURS, CLEAR]]], image.dtype) if image.shape[2] > COLOURS else fill


def _of_colours(part: Part) -> Part:
    """Return a part that leaves opacity as it is."""

    def change(image: Array, draws: Array) -> Array:
        if image.shape[2] <= COLOURS:
            return part(image, draws)
        return jnp.concatenate([part(image[..., :COLOURS], draws), image[..., COLOURS:]], 2)

    return change


def _weights(side: int, *, factor: Array | float = 1.0, offset: Array | float = 0.0) -> Array:
    """Return the linear interpolation along one axis, [side, side]: row i weighs the pixels that make pixel i.

    Pixels are moved by `offset` and, about the centre, apart by `factor`. Weights outside of the image are lost.
    """
    centre = (side - 1) / 2
    source = (jnp.arange(side) - centre - offset) / factor + centre  # [side]
    return _interpolation(source, side)


def _resample(image: Array, rows: Array, columns: Array, *, fill: float) -> Array:
    """Interpolate along both axes with weights [H, H] and [W, W]. Where weights are lost, `fill` takes their place."""
    resampled = jnp.einsum("ih,jw,hwc->ijc", rows, columns, image, precision="highest")
    lost = 1 - jnp.sum(rows, 1)[:, None] * jnp.sum(columns, 1)[None]  # [H, W]
    return resampled + _filling(image, fill) * lost[..., None]


def _shear(image: Array, slope: Array, *, fill: float) -> Array:
    """Move row i along itself by slope · (i − centre): [H, W, C] to [H, W, C]."""
    side = image.shape[0]
    offsets = slope * (jnp.arange(side) - (side - 1) / 2)  # [H]
    source = jnp.arange(side)[None] - offsets[:, None]  # [H, W]
    weights = _interpolation(source, side)  # [H, W, W]
    sheared = jnp.einsum("hjw,hwc->hjc", weights, image, precision="highest")
    return sheared + _filling(image, fill) * (1 - jnp.sum(weights, 2))[..., None]


def _interpolation(source: Array, side: int) -> Array:
    """Return the weights [..., side] of the pixels 0 to side − 1 at the places `source` [...]: 1 − distance, at least 0."""
    pixels = jnp.arange(side).reshape(*[1] * source.ndim, side)
    return jnp.maximum(0, 1 - jnp.abs(source[..., None] - pixels))


PARTS: dict[str, Callable[[AugmentConfig], Part]] = {
    "mirror": lambda config: mirror,
    "rotation": lambda config: partial(rotate, rotation=config.rotation, fill=config.fill),
    "scale": lambda config: partial(rescale, scale=config.scale, fill=config.fill),
    "shift": lambda config: partial(shift, share=config.shift, fill=config.fill),
    "brightness": lambda config: _of_colours(partial(brighten, brightness=config.brightness)),
    "saturation": lambda config: _of_colours(partial(saturate, saturation=config.saturation)),
    "contrast": lambda config: _of_colours(partial(change_contrast, contrast=config.contrast)),
    "cutout": lambda config: partial(cut_out, share=config.cutout, fill=config.fill),
}
"""The settings of `augment` that switch a part on, in the order in which the parts follow each other."""
