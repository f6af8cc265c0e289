"""Record a trace: a run's first steps run again, with every input and output, to check them in any framework."""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.sources.load import load_dataset_from_config
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.trainer import Trainer
from sharingan_jax.errors import UserError
from sharingan_jax.gan.gan import Gan
from sharingan_jax.gan.metrics import METRIC_NAMES
from sharingan_jax.gan.state import TrainState
from sharingan_jax.gan.step import Metrics, scale_images, train_step
from sharingan_jax.interop.state_dict import moment_tensors, to_tensors
from sharingan_jax.model.rng import draw_latents
from sharingan_jax.run.continuation import check_continuation, read_existing
from sharingan_jax.run.folder import RunFolder, read_config
from sharingan_jax.run.load import load_run


def record_trace(workdir: Path, *, steps: int) -> dict[str, np.ndarray]:
    """Run the first K = `steps` steps of the run in `workdir` again, and return them as arrays by name:

    - `initial/<name>`, `final/<name>`: every tensor of both networks with the original's names and PyTorch's layouts, and
      Adam's moments as `<name>.exp_avg` and `<name>.exp_avg_sq`;
    - `real` float32 [K, B, H, W, C] in [−1, 1] and `z` float32 [K, B, nz], the inputs of the steps; `step` int64 [K];
    - `loss_d, loss_g, d_real, d_fake_before, d_fake_after, grad_norm_d, grad_norm_g`: float32 [K], NaN if a step has none.

    Raise UserError if the run's images have changed, if it came from elsewhere and no longer has its first checkpoint, or if the
    batches of these steps have different sizes.
    """
    folder = RunFolder(workdir)
    config = read_config(folder)
    dataset = load_dataset_from_config(config.data)
    existing = read_existing(folder)
    check_continuation(existing, config, dataset)
    trainer = Trainer(config, make_mesh(1, batch_sizes={1}))
    if not existing.origin:
        state = trainer.init(config.seed)
    elif existing.origin.step in existing.steps:
        state = load_run(workdir).state(existing.origin.step)
    else:
        raise UserError(
            f"workdir={workdir}: expected the checkpoint of its first step {existing.origin.step}, got later ones only."
            " Import or branch into a new folder and trace that run."
        )
    numbers = range(int(state.step) + 1, int(state.step) + 1 + steps)
    plan = BatchPlan(dataset.count, batch_size=config.train.batch_size, seed=config.seed, last_batch=config.data.last_batch)
    sizes = [plan.size_of(step) for step in numbers]
    if len(set(sizes)) > 1:
        whole = next(k for k, size in enumerate(sizes) if size != sizes[0])
        raise UserError(
            f"steps={steps}: expected batches of one size, got {sizes[whole]} images at step {numbers[whole]} after batches of"
            f" {sizes[0]}. Use --steps={whole}."
        )
    real_u8 = dataset.gather(np.stack([plan.indices(step) for step in numbers]))  # [K, B, H, W, C]
    start = jax.device_get(state)
    states = {"initial": to_tensors(config, start) | moment_tensors(config, start)}  # Raises for what the original has not.
    end, seen, metrics = jax.device_get(_traced(trainer.gan, state, real_u8, precision=config.train.precision))
    states["final"] = to_tensors(config, end) | moment_tensors(config, end)
    tensors = {f"{when}/{name}": array for when, arrays in states.items() for name, array in arrays.items()}
    return tensors | {"step": np.array(numbers), **seen, **metrics}


def compare_with_records(trace: dict[str, np.ndarray], records: list[dict[str, Any]]) -> tuple[int, list[int]]:
    """Return how many traced steps have a record (a line of metrics.jsonl), and the steps with a metric that is another float."""
    index_of = {int(step): i for i, step in enumerate(trace["step"])}
    recorded = [record for record in records if record["step"] in index_of]
    differing = []
    for record in recorded:
        was = [math.nan if record[name] is None else record[name] for name in METRIC_NAMES]
        again = [trace[name][index_of[record["step"]]] for name in METRIC_NAMES]
        if not np.array_equal(was, again, equal_nan=True):
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
