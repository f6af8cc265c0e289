"""Stacked seeds: which devices train them, and that these exchange nothing."""

from functools import partial

import jax
import numpy as np
import optax
import pytest
from conftest import smoke_config
from test_mesh import COLLECTIVE

from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.stacked_seeds import StackedTrainer, seeds_mesh
from sharingan_jax.errors import UserError
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.state import TrainState, digest

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize(("seeds", "expected"), [(8, 8), (16, 8), (6, 6), (12, 6), (9, 3), (11, 1), (2, 2)])
def test_by_default_stacked_seeds_use_as_many_of_eight_devices_as_divide_them(seeds: int, expected: int) -> None:
    assert seeds_mesh(0, seeds=seeds).size == expected


def test_devices_that_do_not_divide_the_seeds_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"train\.devices=4: expected a divisor of the 6 stacked seeds\. Use --config\.train\.devices=3"
    ):
        seeds_mesh(4, seeds=6)
    with pytest.raises(UserError, match=r"train\.devices=9: expected at most the 8"):
        seeds_mesh(9, seeds=9)


def test_resumed_seeds_use_their_initial_devices_and_a_part_of_them_no_more() -> None:
    assert seeds_mesh(0, seeds=8, initial_devices=2).size == 2
    assert seeds_mesh(0, seeds=8, initial_devices=3).size == 8
    assert seeds_mesh(4, seeds=8, initial_devices=2).size == 4
    assert seeds_mesh(0, seeds=3, at_most=2).size == 1


def _states(count: int) -> tuple[list[TrainState], list[np.ndarray]]:
    config = smoke_config(model__gen__width="4", model__disc__width="4", model__conv_impl="direct")
    states = [jax.jit(partial(init_state, build_gan(config), seed=seed))() for seed in range(count)]
    rng = np.random.default_rng(0)
    return states, [rng.integers(0, 256, (1, 8, config.data.size, config.data.size, 3), np.uint8) for _ in states]


@pytest.mark.slow
def test_each_device_trains_its_own_seeds_and_nothing_is_exchanged() -> None:
    config = smoke_config(model__gen__width="4", model__disc__width="4", model__conv_impl="direct")
    states, real_u8 = _states(2)
    ends = []
    for devices in (1, 2):
        one_run = make_mesh(1, batch_sizes={8})
        trainer = StackedTrainer(config, one_run, seeds_mesh=seeds_mesh(devices, seeds=2), seeds=2)
        stacked = trainer.to_device(states)
        assert digest(trainer.to_host(stacked)[1]) == digest(states[1])
        text = trainer.program.lower(stacked, np.stack(real_u8)).compile().as_text()
        assert not COLLECTIVE.findall(text)
        after, metrics = trainer.run_steps(stacked, real_u8)
        assert trainer.metrics_to_host(metrics)[1]["loss_d"].shape == (1,)
        ends.append(trainer.to_host(after))
    for one, two in zip(*ends, strict=True):
        assert int(one.step) == int(two.step) == 1
        # D's gradients are the same to rounding. On some processors Adam turns the sign of one near zero into a step of 2e-4.
        moments = [optax.tree.get(state.disc.opt, "mu") for state in (one, two)]
        for ours, theirs in zip(*map(jax.tree.leaves, moments), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)
        for ours, theirs in zip(jax.tree.leaves(one.gen.params), jax.tree.leaves(two.gen.params), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5 + 2 * 2e-4)
