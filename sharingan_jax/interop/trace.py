"""A replay kit: the first steps of a run, run again, with all that goes in and comes out, for a check in any framework."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from sharingan_jax.config.schema import Config
from sharingan_jax.data.dataset import Pictures
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.sources.load import load_pictures
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.trainer import Trainer
from sharingan_jax.errors import UserError
from sharingan_jax.gan.gan import Gan
from sharingan_jax.gan.state import TrainState
from sharingan_jax.gan.step import Metrics, scale_images, train_step
from sharingan_jax.interop.state_dict import moment_tensors, to_tensors
from sharingan_jax.rng import draw_latents
from sharingan_jax.run.continuation import check_same_run
from sharingan_jax.run.folder import RunDir, read_config, read_imported
from sharingan_jax.run.load import read_saved_run


@dataclass(frozen=True)
class Beginning:
    """A run as it was before its first step here: the state it drew, or the one that was imported."""

    run: RunDir
    config: Config
    gan: Gan
    pictures: Pictures
    state: TrainState


def run_beginning(workdir: Path) -> Beginning:
    """The beginning of the run in `workdir`. Raises UserError where its pictures are gone or others, or where it was imported
    and its first checkpoint is no longer kept."""
    run = RunDir(workdir)
    config = read_config(run)
    pictures = load_pictures(config.data)
    check_same_run(run, config, pictures)
    imported = read_imported(run)
    if imported:
        if not (run.checkpoints / str(imported["step"])).is_dir():
            raise UserError(
                f"--workdir={workdir} was imported, and its first checkpoint is kept no longer; import the files again into a"
                " new folder, and trace that"
            )
        saved = read_saved_run(workdir, step=imported["step"])
        return Beginning(run, config, saved.gan, pictures, saved.state)
    trainer = Trainer(config, make_mesh(1, batch_sizes={1}))
    return Beginning(run, config, trainer.gan, pictures, trainer.init(config.seed))


def record_trace(beginning: Beginning, *, steps: int) -> dict[str, np.ndarray]:
    """The run's first K = `steps` steps as arrays by name:

    - `initial/<name>`, `final/<name>`: every tensor of both networks under the original's names and in PyTorch's layouts, and
      Adam's moments as `<name>.exp_avg` and `<name>.exp_avg_sq`;
    - `real` float32 [K, B, H, W, C] in [−1, 1] and `z` float32 [K, B, nz], as the steps saw them; `step` int64 [K];
    - `loss_d, loss_g, d_real, d_fake_before, d_fake_after, grad_norm_d, grad_norm_g`: float32 [K], NaN where not taken.

    Raises UserError where the steps' batches are of different sizes.
    """
    config, pictures, state = beginning.config, beginning.pictures, beginning.state
    first = int(state.step) + 1
    plan = BatchPlan(pictures.count, batch_size=config.train.batch_size, seed=config.seed, last_batch=config.data.last_batch)
    sizes = [plan.size_of(step) for step in range(first, first + steps)]
    if len(set(sizes)) > 1:
        whole = next(k for k, size in enumerate(sizes) if size != sizes[0])
        raise UserError(
            f"--steps={steps}: step {first + whole} has a batch of {sizes[whole]}, not {sizes[0]}; use --steps={whole}"
        )
    real_u8 = np.stack([pictures.images[plan.indices(step)] for step in range(first, first + steps)])
    start = jax.device_get(state)
    end, seen, metrics = jax.device_get(_traced(beginning.gan, state, real_u8, precision=config.train.precision))
    trace = {f"initial/{name}": array for name, array in (to_tensors(config, start) | moment_tensors(config, start)).items()}
    trace |= {f"final/{name}": array for name, array in (to_tensors(config, end) | moment_tensors(config, end)).items()}
    return trace | {"step": np.arange(first, first + steps), **seen, **metrics}


def compare_with_records(trace: dict[str, np.ndarray], records: list[dict[str, Any]]) -> tuple[int, list[int]]:
    """Of the traced steps, how many have a record (a line of metrics.jsonl), and those with a figure that is another float."""
    places = {int(step): i for i, step in enumerate(trace["step"])}
    recorded = [record for record in records if record["step"] in places]
    differing = []
    for record in recorded:
        i = places[record["step"]]
        figures = {name: value for name, value in record.items() if name not in ("step", "epoch", "time")}
        again = {name: float(trace[name][i]) for name in figures}
        # What was not taken at a step is None in its record and NaN in the trace.
        if any(value != (None if math.isnan(again[name]) else again[name]) for name, value in figures.items()):
            differing.append(record["step"])
    return len(recorded), differing


def _traced(gan: Gan, state: TrainState, real_u8: np.ndarray, *, precision: str) -> tuple[TrainState, Metrics, Metrics]:
    def body(state: TrainState, batch_u8: Array) -> tuple[TrainState, tuple[Metrics, Metrics]]:
        real = scale_images(batch_u8)
        z = draw_latents(state.key, step=state.step + 1, count=real.shape[0], nz=gan.nz)
        state, metrics = train_step(gan, state, real, z)
        return state, ({"real": real, "z": z}, metrics)

    @jax.jit
    def run(state: TrainState, real_u8: Array) -> tuple[TrainState, tuple[Metrics, Metrics]]:
        with jax.default_matmul_precision(precision):
            return lax.scan(body, state, real_u8)

    end, (seen, metrics) = run(state, jnp.asarray(real_u8))
    return end, seen, metrics
