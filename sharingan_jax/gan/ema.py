"""Averaged generator weights: an exponential moving average over the images seen, which samples better than the last weights.

Paper: Karras et al. 2018, "Progressive Growing of GANs", section 6.1; Yazıcı et al. 2019, "The Unusual Effectiveness of Averaging
in GAN Training". As in StyleGAN 2's official code, the half-life is in images, and the buffers are not averaged.
"""

import math
from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from sharingan_jax.gan.state import NetState, TrainState
from sharingan_jax.model.functional import Arrays

Weights = Literal["raw", "averaged"]


def init_ema(params: Arrays, *, half_life: float) -> Arrays | None:
    """Return the average before step 1, the initial parameters, or None if `half_life` is 0."""
    return params if half_life > 0 else None


def update_ema(
    ema: Arrays | None, params: Arrays, *, step: Array, images: int, half_life: float, ramp_up: float = 0.0
) -> Arrays | None:
    """Return decay · ema + (1 − decay) · params with decay = 2^(−images / half_life), for a step on `images` images.

    With a `ramp_up` above 0 the half-life is at most ramp_up · (images before `step`), so that the average forgets the first
    weights. At step 1 it is the new weights themselves.
    """
    if ema is None:
        return None
    share: Array | float = -math.expm1(-math.log(2) * images / half_life)  # 1 − decay, in float64
    if ramp_up > 0:
        # 2^(−images / (ramp_up · (step − 1) · images)); every step is counted with as many images as this one.
        share = jnp.maximum(share, -jnp.expm1(-math.log(2) / (ramp_up * (step - 1))))
    return jax.tree.map(lambda average, new: average + share * (new - average), ema, params)


def generator_of(state: TrainState, *, weights: Weights | None = None) -> NetState:
    """Return the generator to sample from: as trained (`"raw"`), or with averaged parameters and the same buffers.

    By default the parameters are averaged if the run keeps an average. Raise ValueError if it does not and they are asked for.
    """
    match weights or kept_weights(state):
        case "raw":
            return state.gen
        case "averaged" if state.ema is not None:
            return replace(state.gen, params=state.ema)
    raise ValueError(f"no {weights} weights in this state")


def kept_weights(state: TrainState) -> Weights:
    """Return the weights that samples are drawn with by default."""
    return "raw" if state.ema is None else "averaged"
