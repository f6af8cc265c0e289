"""Networks as pure functions of plain arrays, in both of Flax's module modes."""

import os
import subprocess
import sys

import flax
import jax
import pytest
from conftest import ROOT, smoke_config

from sharingan_jax.data.emblems.draw import draw_emblems
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.trainer import Trainer
from sharingan_jax.gan.gan import build_gan
from sharingan_jax.gan.state import digest

PROGRAM = """
import conftest, test_functional
from flax import config
print(config.nnx_graph_mode, config.nnx_graph_updates, test_functional.digest_after_two_steps())
"""


def digest_after_two_steps() -> str:
    """Return the state's digest after two small steps of the stabilised system on emblems."""
    trainer = Trainer(smoke_config(), make_mesh(1, batch_sizes={8}))
    state, _ = trainer.run_steps(trainer.init(0), [draw_emblems(16, size=32)[0].reshape(2, 8, 32, 32, 3)])
    return digest(state)


@pytest.mark.slow
def test_flax_tree_mode_gives_the_same_bits() -> None:
    if not hasattr(flax.config, "nnx_graph_mode"):
        pytest.skip("this Flax has graph mode only")
    environment = {
        **os.environ,
        "NNX_GRAPH_MODE": "false",
        "NNX_GRAPH_UPDATES": "false",
        "XLA_FLAGS": "",
        "PYTHONPATH": "tests:tests/model:.",
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", digest_after_two_steps()]


@pytest.mark.slow
def test_a_pass_does_not_change_its_arguments() -> None:
    gan = build_gan(smoke_config())
    state = Trainer(smoke_config(), make_mesh(1, batch_sizes={8})).init(0)
    before = digest(state)
    z = jax.numpy.ones((4, gan.nz))
    _, buffers = gan.gen.apply(state.gen.params, state.gen.buffers, z, mode="train")
    assert digest(state) == before
    assert not (buffers["to4"]["u"] == state.gen.buffers["to4"]["u"]).all()
