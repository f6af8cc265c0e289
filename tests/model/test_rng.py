"""Draws are functions of (seed, stream, step) and, for weights, of the name."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sharingan_jax.model.rng import Stream, draw_latents, fixed_latents, normal_arrays, seed_key, stream_key


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_streams_and_steps_have_different_keys(seed: int) -> None:
    key = seed_key(seed)
    draws = [np.asarray(draw_latents(key, step=step, count=2, nz=4)).tobytes() for step in (1, 2, 3)]
    draws.append(np.asarray(fixed_latents(key, count=2, nz=4)).tobytes())
    draws.append(np.asarray(draw_latents(seed_key((seed + 1) % 2**31), step=1, count=2, nz=4)).tobytes())
    assert len(set(draws)) == 5


def test_an_array_depends_on_its_name_and_not_on_the_other_arrays() -> None:
    key = stream_key(seed_key(0), Stream.GEN_INIT)
    alone = normal_arrays(key, {"to8/kernel": (4, 4, 30, 20)})
    together = normal_arrays(key, {"to4/kernel": (4, 4, 7, 3), "to8/kernel": (4, 4, 30, 20), "to8/u": (20,)})
    np.testing.assert_array_equal(alone["to8/kernel"], together["to8/kernel"])
    assert together["to8/u"][0] != together["to8/kernel"][0, 0, 0, 0]


def test_weights_across_blocks_are_normal() -> None:
    drawn = np.asarray(normal_arrays(stream_key(seed_key(1), Stream.DISC_INIT), {"kernel": (4, 4, 64, 64)})["kernel"]).ravel()
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    assert len(np.unique(drawn)) > 0.98 * len(drawn)  # No block is drawn twice.


def test_latents_and_weights_never_change() -> None:
    """Recorded from these functions on 2026-11-25 (jax 0.10.2). Every run's numbers depend on them, so they never change.

    Threefry's bits are the same on every platform. The normal numbers made from them are the same to rounding.
    """
    key = seed_key(7)
    close = {"rtol": 1e-5, "atol": 1e-6}
    latents = [[-0.4447689, 0.31434488], [0.02201095, 0.3915092]]
    np.testing.assert_allclose(draw_latents(key, step=3, count=2, nz=2), latents, **close)
    np.testing.assert_allclose(fixed_latents(key, count=1, nz=3), [[-0.16875239, 0.24467601, -0.77864635]], **close)
    drawn = normal_arrays(stream_key(key, Stream.GEN_INIT), {"to8/kernel": (4, 4, 3, 2)})["to8/kernel"]
    np.testing.assert_allclose(np.ravel(drawn)[:4], [0.32800025, -0.024392987, -1.2748648, 0.07330842], **close)
