"""The benchmarks' count of operations agrees with XLA's."""

from functools import partial

import jax
import numpy as np
import pytest
from conftest import smoke_config

from benchmarks.flops import step_operations
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.trainer import jit_steps
from sharingan_jax.gan.gan import build_gan, init_state


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (64, 1)])
def test_the_counted_operations_are_nearly_all_that_xla_counts(size: int, channels: int) -> None:
    changes = {"data__size": str(size), "data__channels": str(channels), "model__gen__width": "64", "model__disc__width": "48"}
    config = smoke_config(model__conv_impl="direct", **changes)
    gan = build_gan(config)
    state = jax.eval_shape(partial(init_state, gan, seed=0))
    real_u8 = jax.ShapeDtypeStruct((1, 6, size, size, channels), np.uint8)
    counted = jit_steps(config, make_mesh(1, batch_sizes={6})).lower(state, real_u8).cost_analysis()["flops"]
    operations = step_operations(config, batch=6)
    # XLA also counts norms and Adam, which grow more slowly with the width and the image size than the convolutions.
    assert operations.direct < counted < 1.15 * operations.direct
    assert 9 / 16 < operations.winograd / operations.direct < 0.75
