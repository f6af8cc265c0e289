"""Draws are functions of (seed, purpose, step) and, for weights, of the name."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sharingan_jax.streams import Stream, draw_latents, fixed_latents, normal_arrays, seed_key, stream_key


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_streams_and_steps_have_keys_of_their_own(seed: int) -> None:
    key = seed_key(seed)
    draws = [np.asarray(draw_latents(key, step=step, count=2, nz=4)).tobytes() for step in (1, 2, 3)]
    draws.append(np.asarray(fixed_latents(key, count=2, nz=4)).tobytes())
    draws.append(np.asarray(draw_latents(seed_key((seed + 1) % 2**31), step=1, count=2, nz=4)).tobytes())
    assert len(set(draws)) == 5


def test_an_array_depends_on_its_name_and_not_on_its_company() -> None:
    key = stream_key(seed_key(0), Stream.GEN_INIT)
    alone = normal_arrays(key, {"to8/kernel": (4, 4, 30, 20)})
    together = normal_arrays(key, {"to4/kernel": (4, 4, 7, 3), "to8/kernel": (4, 4, 30, 20), "to8/u": (20,)})
    np.testing.assert_array_equal(alone["to8/kernel"], together["to8/kernel"])
    assert together["to8/u"][0] != together["to8/kernel"][0, 0, 0, 0]


def test_weights_across_blocks_are_normal() -> None:
    drawn = np.asarray(normal_arrays(stream_key(seed_key(1), Stream.DISC_INIT), {"kernel": (4, 4, 64, 64)})["kernel"]).ravel()
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    assert len(np.unique(drawn)) > 0.98 * len(drawn)  # No block is drawn twice.
