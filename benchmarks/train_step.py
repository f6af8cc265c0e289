"""The time of a training step, ours and PyTorch's, in one run.

    python -m benchmarks.train_step --rounds 7 --steps 10
    python -m benchmarks.train_step --rounds 5 --steps 2 --batch 128
    python -m benchmarks.train_step --rounds 5 --steps 6 --config configs/baseline.py
    python -m benchmarks.train_step --rounds 5 --steps 6 --compile
    python -m benchmarks.train_step --rounds 7 --steps 100 --batch 512 --compile --dtype bfloat16

Prints a Markdown table. Every round times each system in turn, so that other load on the machine affects all of them, and ratios
are taken within a round. Needs torch (requirements-dev.txt). Weights, images and latents are the same for all, and compiling is
not counted. The PyTorch system is the tests' oracle, which is eager, as the original is. --compile adds a system whose networks
go through torch.compile (Inductor, which needs a C++ compiler). `benchmarks.gpu` has PyTorch's best on a GPU, CUDA graphs.

If both JAX and torch find a GPU, both run on it. Then torch's metrics are not read in a step, because reading waits for the GPU.
In float32 both multiply in full float32, and with --tf32 both in TF32. In bfloat16 ours uses model.dtype, PyTorch uses autocast.
"""

import argparse
import importlib.util
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import torch

from benchmarks.spread import spread
from sharingan_jax.config.load import load_config
from sharingan_jax.config.schema import Config
from sharingan_jax.data.emblems.draw import draw_emblems
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.trainer import Trainer
from sharingan_jax.interop.state_dict import to_tensors
from sharingan_jax.model.convolutions import fastest_conv_impl
from sharingan_jax.model.rng import draw_latents

ROOT = Path(__file__).parents[1]
ON_GPU = jax.default_backend() == "gpu" and torch.cuda.is_available()
TORCH_DEVICE = "cuda" if ON_GPU else "cpu"
if importlib.util.find_spec("triton"):
    importlib.import_module("triton")  # Inductor needs it. The oracle hides it if it is not yet imported.
from pytorch_reference import (
    cuda_graph,
    oracle,
)

Steps = Callable[[int], None]


def our_steps(conv_impl: str, config: Config, real_u8: np.ndarray) -> Steps:
    """Return `run(steps)`, which runs that many steps of a configuration in one chunk, to their end."""
    config = replace(config, model=replace(config.model, conv_impl=conv_impl))
    trainer = Trainer(config, make_mesh(1, batch_sizes={len(real_u8)}))
    state = trainer.init(0)

    def run(steps: int) -> None:
        nonlocal state
        state, metrics = trainer.run_steps(state, [np.broadcast_to(real_u8, (steps, *real_u8.shape))])
        jax.block_until_ready((state, metrics))

    return run


def pytorch_steps(
    memory_format: torch.memory_format, config: Config, real_u8: np.ndarray, *, through_compile: bool = False
) -> Steps:
    """Return `run(steps)`, which runs that many steps of the PyTorch system from the same weights, on the same kind of device."""
    model, count = config.model, len(real_u8)
    trainer = Trainer(config, make_mesh(1, batch_sizes={count}))
    state = trainer.init(0)
    tensors = to_tensors(config, state)
    if through_compile:  # In a compiled network the oracle's hook would read a weight that the next pass has overwritten.
        sizes = {"nz": model.nz, "gen_width": model.gen.width, "disc_width": model.disc.width}
        gen, disc, start = cuda_graph.make_training(tensors, **sizes, clip_norm=config.optim.disc.clip_norm)
    else:
        gen = oracle.Generator(nz=model.nz, width=model.gen.width, spectral=model.gen.spectral_norm)
        disc = oracle.Discriminator(width=model.disc.width, spectral=model.disc.spectral_norm)
        oracle.load(gen, tensors)
        oracle.load(disc, tensors)
        start = partial(oracle.Training, gen, disc, beta=0.0, clip_norm=config.optim.disc.clip_norm)
    for net in (gen, disc):
        net.to(device=TORCH_DEVICE, memory_format=memory_format)
        if model.dtype == "bfloat16":
            net.forward = _autocast(net.forward)
        if through_compile:
            net.compile()
    training = start()
    real = torch.tensor(real_u8.transpose(0, 3, 1, 2).copy()).to(TORCH_DEVICE, memory_format=memory_format)
    z = torch.tensor(np.asarray(draw_latents(state.key, step=1, count=count, nz=model.nz))).to(TORCH_DEVICE)

    def run(steps: int) -> None:
        for _ in range(steps):
            training.update(real.float() / 127.5 - 1.0, z)
        if ON_GPU:
            torch.cuda.synchronize()

    return run


def _autocast(forward: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return `forward` in bfloat16, as PyTorch's users run it, with a float32 result, which PyTorch's losses need."""
    in_bfloat16 = torch.autocast(TORCH_DEVICE, torch.bfloat16)(forward)
    return lambda x: in_bfloat16(x).float()


def measure(systems: dict[str, Steps], *, rounds: int, steps: int) -> dict[str, list[float]]:
    """Return the seconds a step of each system in each round, after a warm-up that compiles."""
    for run in systems.values():
        run(steps)
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for round_ in range(rounds):
        order = list(systems) if round_ % 2 == 0 else list(reversed(systems))
        for name in order:
            start = time.perf_counter()
            systems[name](steps)
            seconds[name].append((time.perf_counter() - start) / steps)
    return seconds


def table(seconds: dict[str, list[float]], *, baseline: str) -> str:
    """Return a Markdown table: milliseconds a step and speed relative to the baseline, as median with smallest and largest."""
    lines = ["| system | ms a step | times as fast as " + baseline + " |", "|---|---|---|"]
    for name, values in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(seconds[baseline], values, strict=True)]
        ms = [1000 * value for value in values]
        lines.append(f"| {name} | {spread(ms, 0)} | {spread(ratios, 2)} |")
    return "\n".join(lines)


def systems(config: Config, real_u8: np.ndarray, *, direct: bool, through_compile: bool) -> dict[str, Callable[[], Steps]]:
    """Return the systems to time, by name. Each is built when it is called."""
    fastest = fastest_conv_impl(jax.default_backend())
    raced: dict[str, Callable[[], Steps]] = {
        f"ours, {fastest}": partial(our_steps, fastest, config, real_u8),
        "PyTorch": partial(pytorch_steps, torch.contiguous_format, config, real_u8),
        "PyTorch, channels_last": partial(pytorch_steps, torch.channels_last, config, real_u8),
    }
    if through_compile:
        raced["PyTorch, compiled"] = partial(pytorch_steps, torch.contiguous_format, config, real_u8, through_compile=True)
    if direct:
        raced["ours, direct"] = partial(our_steps, "direct", config, real_u8)
    return raced


def configured(path: Path, *, batch: int, width: int, dtype: str = "float32", tf32: bool = False) -> tuple[Config, np.ndarray]:
    """Return a configuration and a batch of emblems, uint8 [B, 64, 64, 3], and set the same precision in torch."""
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    precision = "high" if tf32 else "highest"
    changes = {
        "train.batch_size": batch,
        "model.gen.width": width,
        "model.disc.width": width,
        "model.dtype": dtype,
        "train.precision": precision,
    }
    config = load_config(path, [(name, str(value)) for name, value in changes.items()])
    emblems = draw_emblems(100)[0]
    return config, emblems[np.resize(np.arange(len(emblems)), batch)]


def command(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds; default: 7")
    parser.add_argument("--steps", type=int, default=10, help="steps of each system in a round; default: 10")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "default.py", help="default: configs/default.py")
    parser.add_argument("--batch", type=int, default=25, help="images a step; default: 25")
    parser.add_argument("--width", type=int, default=64, help="width of both networks; default: 64")
    parser.add_argument("--direct", action="store_true", help="ours with XLA's own convolutions too; on a CPU that takes minutes")
    parser.add_argument("--compile", action="store_true", help="PyTorch through torch.compile too")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="default: float32")
    parser.add_argument("--tf32", action="store_true", help="float32 products in TF32 on both sides, on a GPU")
    flags = parser.parse_args(arguments)
    config, real_u8 = configured(flags.config, batch=flags.batch, width=flags.width, dtype=flags.dtype, tf32=flags.tf32)
    raced = systems(config, real_u8, direct=flags.direct, through_compile=flags.compile)
    seconds = measure({name: make() for name, make in raced.items()}, rounds=flags.rounds, steps=flags.steps)
    device = jax.devices()[0]
    print(f"jax {jax.__version__} on {device.platform}, torch {torch.__version__} on {TORCH_DEVICE}", end=", ")
    print(f"{torch.get_num_threads()} threads; {flags.dtype}{', TF32' if flags.tf32 else ''};")
    print(f"{platform.machine()}, Python {platform.python_version()}; {flags.config.stem}, batch {flags.batch}", end=", ")
    print(f"width {flags.width}; {flags.rounds} rounds of {flags.steps} steps\n")
    print(table(seconds, baseline="PyTorch"))


if __name__ == "__main__":
    command(sys.argv[1:])
