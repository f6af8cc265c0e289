"""Which devices share a batch, and what is said where they cannot."""

import re
from functools import partial

import jax
import numpy as np
import pytest
from conftest import smoke_config

from sharingan_jax.errors import UserError
from sharingan_jax.parallel import check_groups, jit_chunk, make_mesh
from sharingan_jax.state import build_system, init_state

COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter)(?:-start)?\("
)


@pytest.mark.parametrize(("sizes", "expected"), [({24}, 8), ({25}, 5), ({25, 10}, 5), ({7}, 7), ({13}, 1), ({25, 3}, 1)])
def test_left_to_itself_the_mesh_takes_as_many_of_eight_devices_as_fit(sizes: set[int], expected: int) -> None:
    assert make_mesh(0, batch_sizes=sizes).size == expected


def test_a_number_of_devices_that_does_not_fit_is_refused_with_what_does() -> None:
    with pytest.raises(
        UserError, match=r"train\.batch_size=25, which does not divide over train\.devices=8; .*devices=5, or a batch of 24"
    ):
        make_mesh(8, batch_sizes={25})
    with pytest.raises(UserError, match=r"an epoch's last batch one of 6, .*devices=2, or data\.last_batch=fill or drop"):
        make_mesh(4, batch_sizes={8, 6})
    with pytest.raises(UserError, match=r"train\.devices=9 and this machine has 8"):
        make_mesh(9, batch_sizes={9})


def test_groups_that_do_not_divide_a_batch_are_refused_with_those_that_do() -> None:
    check_groups(5, batch_sizes={25, 10})
    with pytest.raises(UserError, match=r"batch_norm_groups=2 does not divide a batch of 25; .*groups=1, or a batch of 24"):
        check_groups(2, batch_sizes={25})
    with pytest.raises(UserError, match=r"groups=4 does not divide a batch of 6; .*groups=2, or data\.last_batch=fill or drop"):
        check_groups(4, batch_sizes={8, 6})


def _compiled(devices: int, form: str) -> jax.stages.Compiled:
    """Two steps on 16 pictures over that many devices."""
    config = smoke_config(model__ngf="4", model__ndf="4", model__convolution=form)
    system = build_system(config)
    state = jax.eval_shape(partial(init_state, system, seed=0))
    real_u8 = jax.ShapeDtypeStruct((2, 16, config.data.size, config.data.size, 3), np.uint8)
    chunk = jit_chunk(system, make_mesh(devices, batch_sizes={16}), precision=config.train.precision)
    return chunk.lower(state, real_u8).compile()


@pytest.mark.parametrize("form", ["direct", "winograd"])
def test_each_of_eight_devices_does_an_eighth_and_only_sums_are_exchanged(form: str) -> None:
    one, eight = _compiled(1, form), _compiled(8, form)
    found = COLLECTIVE.findall(eight.as_text())
    assert set(found) == {"all-reduce"}, found
    assert not COLLECTIVE.findall(one.as_text())
    whole, part = (compiled.cost_analysis()["flops"] for compiled in (one, eight))
    assert part < whole / 8 * 1.25  # Optimizers, spectral norms and the latents' generator are not shared out.
