"""Which devices share a batch, what they exchange, and the errors for batches that do not divide."""

import re
from collections import Counter
from functools import cache, partial

import jax
import numpy as np
import pytest
from conftest import smoke_config

from pytorch_reference.replay import PRE_ACTIVATION
from sharingan_jax.devices.mesh import check_ghost_batches, make_mesh
from sharingan_jax.devices.trainer import jit_steps
from sharingan_jax.errors import UserError
from sharingan_jax.gan.gan import build_gan, init_state

pytestmark = pytest.mark.usefixtures("compiled_quickly")

COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter)(?:-start)?\("
)
SUMS = re.compile(r" = (\S+|\(.*?\)) all-reduce(?:-start)?\(")


@pytest.mark.parametrize(("sizes", "expected"), [({24}, 8), ({25}, 5), ({25, 10}, 5), ({7}, 7), ({13}, 1), ({25, 3}, 1)])
def test_by_default_the_mesh_uses_as_many_of_eight_devices_as_fit(sizes: set[int], expected: int) -> None:
    assert make_mesh(0, batch_sizes=sizes).size == expected


def test_a_number_of_devices_that_does_not_fit_is_refused_with_one_that_does() -> None:
    with pytest.raises(
        UserError,
        match=r"train\.batch_size=25: expected a batch that divides over train\.devices=8\. .*devices=5, or a batch of 24",
    ):
        make_mesh(8, batch_sizes={25})
    with pytest.raises(UserError, match=r"got 6 for the last batch of an epoch\. .*devices=2, or data\.last_batch=fill"):
        make_mesh(4, batch_sizes={8, 6})
    with pytest.raises(UserError, match=r"train\.devices=9: expected at most the 8 of this machine"):
        make_mesh(9, batch_sizes={9})


def test_ghost_batches_that_do_not_divide_a_batch_are_refused_with_those_that_do() -> None:
    check_ghost_batches(5, batch_sizes={25, 10})
    with pytest.raises(
        UserError, match=r"ghost_batches=2: expected a divisor of the batch of 25\. .*ghost_batches=1, or a batch of 24"
    ):
        check_ghost_batches(2, batch_sizes={25})
    with pytest.raises(
        UserError,
        match=r"ghost_batches=4: expected a divisor of the batch of 6\. .*ghost_batches=2, or data\.last_batch=fill or drop",
    ):
        check_ghost_batches(4, batch_sizes={8, 6})


@cache
def _compiled(devices: int, **changes: str) -> jax.stages.Compiled:
    """Compile two steps on 16 images over that many devices."""
    config = smoke_config(**{"model__gen__width": "4", "model__disc__width": "4", **changes})
    gan = build_gan(config)
    state = jax.eval_shape(partial(init_state, gan, seed=0))
    real_u8 = jax.ShapeDtypeStruct((2, 16, config.data.size, config.data.size, 3), np.uint8)
    return jit_steps(config, make_mesh(devices, batch_sizes={16})).lower(state, real_u8).compile()


def _sums(compiled: jax.stages.Compiled) -> Counter[str]:
    """Count the arrays that a program sums over the devices, by type: `f32[2,8]`. One all-reduce may carry several."""
    lines = SUMS.findall(compiled.as_text())
    return Counter(array for line in lines for array in re.findall(r"\w+\[[\d,]*\]", line))


@pytest.mark.parametrize("conv_impl", ["direct", pytest.param("winograd", marks=pytest.mark.slow)])
def test_each_of_eight_devices_does_an_eighth_and_only_sums_are_exchanged(conv_impl: str) -> None:
    one, eight = _compiled(1, model__conv_impl=conv_impl), _compiled(8, model__conv_impl=conv_impl)
    found = COLLECTIVE.findall(eight.as_text())
    assert set(found) == {"all-reduce"}, found
    assert not COLLECTIVE.findall(one.as_text())
    whole, part = (compiled.cost_analysis()["flops"] for compiled in (one, eight))
    assert part < whole / 8 * 1.25  # Every device computes optimizers, spectral norms and latents whole.


@pytest.mark.parametrize(
    ("conv_impl", "changes"),
    [
        pytest.param("winograd", {}, marks=pytest.mark.slow),
        ("direct", {}),
        ("direct", {"train__n_critic": "2", "loss__beta": "0.01", **PRE_ACTIVATION}),
    ],
)
def test_statistics_are_summed_once_a_layer_each_way_and_pass_and_gradients_once_an_update(
    conv_impl: str, changes: dict[str, str]
) -> None:
    """The layers alone determine the shapes of all exchanged arrays."""
    gan = build_gan(smoke_config(model__gen__width="4", model__disc__width="4"))
    state = jax.eval_shape(partial(init_state, gan, seed=0))
    expected: Counter[str] = Counter()
    # D scores the real batch, the fake one, and after its update the fake one again; G makes it once. Metrics are sent too.
    metrics_d, metrics_g = ("loss_d", "d_real", "d_fake_before"), ("loss_g", "d_fake_after")
    for net, passes, metrics in ((state.gen, 1, metrics_g), (state.disc, 3, metrics_d)):
        for name, layer in net.params.items():
            if name.startswith("bn"):
                expected[f"f32[2,{layer['scale'].size}]"] += 2 * passes  # Mean and variance forward, their gradients backward.
        expected[f"f32[{sum(leaf.size for leaf in jax.tree.leaves(net.params)) + len(metrics)}]"] += 1
    eight = _compiled(8, model__conv_impl=conv_impl, **changes)
    assert _sums(eight) == expected
    assert set(COLLECTIVE.findall(eight.as_text())) == {"all-reduce"}
