"""Record a trace: a run's first steps run again, with every input and output, to check them in any framework."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from sharingan_jax.config.schema import Config
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.sources.load import load_dataset_from_config
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.trainer import Trainer
from sharingan_jax.errors import UserError
from sharingan_jax.gan.gan import Gan
from sharingan_jax.gan.state import TrainState
from sharingan_jax.gan.step import Metrics, scale_images, train_step
from sharingan_jax.interop.state_dict import moment_tensors, to_tensors
from sharingan_jax.rng import draw_latents
from sharingan_jax.run.continuation import check_continuation, read_existing
from sharingan_jax.run.folder import RunFolder, read_config
from sharingan_jax.run.load import load_run


@dataclass(frozen=True)
class Beginning:
    """A run before its first step here, with the state that it drew or imported."""

    folder: RunFolder
    config: Config
    gan: Gan
    dataset: ImageDataset
    state: TrainState


def run_beginning(workdir: Path) -> Beginning:
    """Return the run in `workdir` before its first step.

    Raise UserError if its images have changed, or if the run was imported and no longer has its first checkpoint.
    """
    folder = RunFolder(workdir)
    config = read_config(folder)
    dataset = load_dataset_from_config(config.data)
    existing = read_existing(folder)
    check_continuation(existing, config, dataset)
    trainer = Trainer(config, make_mesh(1, batch_sizes={1}))
    if existing.imported:
        if existing.imported.step not in existing.steps:
            raise UserError(
                f"--workdir={workdir}: expected the checkpoint of the imported step {existing.imported.step}, got later ones"
                " only. Import the files into a new folder and trace that run."
            )
        return Beginning(folder, config, trainer.gan, dataset, load_run(workdir).state(existing.imported.step))
    return Beginning(folder, config, trainer.gan, dataset, trainer.init(config.seed))


def record_trace(beginning: Beginning, *, steps: int) -> dict[str, np.ndarray]:
    """Return the run's first K = `steps` steps as arrays by name:

    - `initial/<name>`, `final/<name>`: every tensor of both networks with the original's names and PyTorch's layouts, and
      Adam's moments as `<name>.exp_avg` and `<name>.exp_avg_sq`;
    - `real` float32 [K, B, H, W, C] in [−1, 1] and `z` float32 [K, B, nz], the inputs of the steps; `step` int64 [K];
    - `loss_d, loss_g, d_real, d_fake_before, d_fake_after, grad_norm_d, grad_norm_g`: float32 [K], NaN if a step has none.

    Raise UserError if the batches of these steps have different sizes.
    """
    config, dataset, state = beginning.config, beginning.dataset, beginning.state
    first = int(state.step) + 1
    plan = BatchPlan(dataset.count, batch_size=config.train.batch_size, seed=config.seed, last_batch=config.data.last_batch)
    sizes = [plan.size_of(step) for step in range(first, first + steps)]
    if len(set(sizes)) > 1:
        whole = next(k for k, size in enumerate(sizes) if size != sizes[0])
        raise UserError(
            f"--steps={steps}: expected batches of one size, got {sizes[whole]} images at step {first + whole} after batches of"
            f" {sizes[0]}. Use --steps={whole}."
        )
    indices = np.stack([plan.indices(step) for step in range(first, first + steps)])  # [K, B]
    real_u8 = dataset.gather(indices)  # [K, B, H, W, C]
    start = jax.device_get(state)
    end, seen, metrics = jax.device_get(_traced(beginning.gan, state, real_u8, precision=config.train.precision))
    trace = {f"initial/{name}": array for name, array in (to_tensors(config, start) | moment_tensors(config, start)).items()}
    trace |= {f"final/{name}": array for name, array in (to_tensors(config, end) | moment_tensors(config, end)).items()}
    return trace | {"step": np.arange(first, first + steps), **seen, **metrics}


def compare_with_records(trace: dict[str, np.ndarray], records: list[dict[str, Any]]) -> tuple[int, list[int]]:
    """Return how many traced steps have a record (a line of metrics.jsonl), and the steps with a metric that is another float."""
    index_of = {int(step): i for i, step in enumerate(trace["step"])}
    recorded = [record for record in records if record["step"] in index_of]
    differing = []
    for record in recorded:
        i = index_of[record["step"]]
        metrics = {name: value for name, value in record.items() if name not in ("step", "epoch", "time")}
        again = {name: float(trace[name][i]) for name in metrics}
        # A metric that a step does not have is None in its record and NaN in the trace.
        if any(value != (None if math.isnan(again[name]) else again[name]) for name, value in metrics.items()):
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
