"""Whole steps beside the PyTorch reference in float64, from the same weights, pictures and latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

from sharingan_jax.config_files import load_config
from sharingan_jax.state import build_system, init_state
from sharingan_jax.step import train_step
from sharingan_jax.streams import draw_latents

torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")

STEPS, B, NZ, WIDTH = 5, 6, 12, 8


@pytest.mark.parametrize(("experiment", "form"), [("baseline", "direct"), ("stabilised_modified", "winograd")])
def test_five_whole_steps_equal_pytorch(experiment: str, form: str) -> None:
    import pytorch_oracle as oracle

    sizes = [("model.nz", str(NZ)), ("model.ngf", str(WIDTH)), ("model.ndf", str(WIDTH)), ("model.convolution", form)]
    config = load_config(ROOT / "configs" / f"{experiment}.py", sizes)
    with jax.enable_x64(True):
        system = build_system(config)
        drawn = jax.jit(lambda: init_state(system, seed=0))()
        state = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, drawn)
        normalised = config.model.gen_spectral_norm
        gen, disc = (
            oracle.make_generator(nz=NZ, ngf=WIDTH, normalised=normalised),
            oracle.make_discriminator(ndf=WIDTH, normalised=normalised),
        )
        oracle.load(gen, state.gen, oracle.GEN_NAMES)
        oracle.load(disc, state.disc, oracle.DISC_NAMES)
        theirs = oracle.Training(gen.double(), disc.double(), beta=config.loss.beta, clip_norm=config.optim.disc.clip_norm)
        ours = jax.jit(lambda state, real: train_step(system, state, real))
        torch.set_default_dtype(torch.float64)
        try:
            for step in range(1, STEPS + 1):
                real = np.random.default_rng(step).uniform(-1, 1, (B, 64, 64, 3))
                z = np.asarray(draw_latents(state.key, step=step, count=B, nz=NZ), np.float64)
                state, metrics = ours(state, jnp.asarray(real))
                expected = theirs.step(torch.tensor(real.transpose(0, 3, 1, 2).copy()), torch.tensor(z))
                for name, value in expected.items():
                    np.testing.assert_allclose(metrics[name], value, rtol=1e-8, err_msg=f"{name} at step {step}")
        finally:
            torch.set_default_dtype(torch.float32)
        found = {
            **oracle.differences(gen, state.gen, oracle.GEN_NAMES),
            **oracle.differences(disc, state.disc, oracle.DISC_NAMES),
        }
    assert max(found.values()) < 1e-8, found
