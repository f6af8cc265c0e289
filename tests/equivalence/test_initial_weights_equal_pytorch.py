"""Initial weights come from the oracle's distributions: mean, variance and shape over many draws."""

from collections.abc import Iterator

import jax
import numpy as np
import pytest
from scipy import stats

from pytorch_reference.replay import make_oracle, small_config
from sharingan_jax.config.schema import Config
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.interop.state_dict import Tensors, to_tensors

torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")

DRAWS = 30


def _ours(config: Config) -> Iterator[Tensors]:
    gan = build_gan(config)
    for seed in range(DRAWS):
        yield to_tensors(config, init_state(gan, seed=seed))


def _theirs(config: Config) -> Iterator[Tensors]:
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        yield make_oracle(config, None).networks()


def test_every_tensor_is_drawn_from_the_originals_distribution() -> None:
    config = small_config("stabilised", width=4)
    with jax.disable_jit(False):
        sides = [list(draws(config)) for draws in (_ours, _theirs)]
    compared = 0
    for name in sides[1][0]:
        ours, theirs = (np.concatenate([draw[name].ravel() for draw in side]).astype(np.float64) for side in sides)
        if ours.std() == 0 or theirs.std() == 0:  # Biases, running statistics and counters start as constants.
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
            continue
        compared += 1
        error = theirs.std() / np.sqrt(len(theirs))
        # Six standard errors: with 28 tensors, one false alarm in ten million. The seeds are also fixed.
        assert abs(ours.mean() - theirs.mean()) < 6 * np.sqrt(2) * error, name
        np.testing.assert_allclose(ours.std(), theirs.std(), rtol=6 / np.sqrt(len(theirs)), err_msg=name)
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-4, name
    assert compared == 10 + 7 + 9 + 9  # kernels, batch-norm scales, u and v of the nine normalised layers


def test_the_comparison_detects_another_spread() -> None:
    theirs = 0.02 * np.random.RandomState(0).standard_normal(20_000)
    assert stats.ks_2samp(1.1 * theirs, 0.02 * np.random.RandomState(1).standard_normal(20_000)).pvalue < 1e-4
