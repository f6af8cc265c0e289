"""Runs of tiny untrained networks, written in a second: for tests of what reads a run."""

from dataclasses import replace
from pathlib import Path

import jax
from conftest import smoke_config

from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.state import digest
from sharingan_jax.run.first_state import write_first_state
from sharingan_jax.run.manifest import Origin

TINY = {"model__gen__width": "4", "model__disc__width": "4", "model__nz": "8", "model__conv_impl": "direct", "data__size": "32"}


def write_initial_run(workdir: Path, **changes: str) -> Path:
    """Write a run of the initial networks with TINY settings, changed as by `smoke_config`.

    Averaged weights, if it keeps them, are 1.5 times the raw ones.
    """
    config = smoke_config(**TINY, **changes)
    state = jax.device_get(init_state(build_gan(config), seed=config.seed))
    if state.ema is not None:
        state = replace(state, ema=jax.tree.map(lambda parameter: 1.5 * parameter, state.gen.params))
    write_first_state(workdir, config, state, Origin(step=0, digest=digest(state), files={}), status="imported")
    return workdir
