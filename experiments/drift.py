"""How far training in float32 drifts from the same training in float64: ours and PyTorch's.

    python -m experiments.drift --figure docs/images/drift.png
    python -m experiments.drift --width 64 --steps 1

Every training starts from weights that PyTorch draws, and sees the same emblems and latents. The exact training is PyTorch's in
float64. Prints tables and, with --figure, plots the distance of all weights over the steps. Needs torch; the PyTorch system is
the tests' oracle. Each of the two commands takes about three minutes on two CPU cores.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from matplotlib.figure import Figure

from pytorch_reference import replay
from sharingan_jax.files import write_atomically
from sharingan_jax.model.convolutions import fastest_conv_impl

ROOT = Path(__file__).parents[1]

EXPERIMENTS = ("baseline", "stabilised")
B = 25
LINES = {
    "ours, float32": ("#0072b2", "-"),
    "PyTorch, float32": ("#d55e00", "-"),
    "ours, float64": ("#0072b2", ":"),
}
Drift = dict[str, Any]


def measure(experiment: str, *, seed: int, width: int, steps: int, conv_impl: str) -> Drift:
    """Return for each system of LINES: `weights` [steps], the distance of all weights from the exact ones as a fraction of their
    norm, and `loss_d` and `loss_g` [steps], the relative distance of the losses."""
    config = replay.small_config(experiment, width=width, conv_impl=conv_impl, model__nz="100")
    torch.manual_seed(seed)
    initial = replay.make_oracle(config, None, dtype="float32").networks()
    shared: dict[str, Any] = {"steps": steps, "count": B, "source": replay.emblem_batch}
    exact: list[Any] = []
    _, exact_metrics = replay.replay_oracle(config, initial, watch=exact.append, **shared)
    found = {}
    for name in LINES:
        play = replay.replay_ours if name.startswith("ours") else replay.replay_oracle
        distances: list[float] = []

        def watch(tensors: Any, distances: list[float] = distances) -> None:
            distances.append(replay.weight_distance(tensors, exact[len(distances)]))

        _, metrics = play(config, initial, dtype=name.split()[-1], watch=watch, **shared)
        losses = {key: np.abs(metrics[key] / exact_metrics[key] - 1) for key in ("loss_d", "loss_g")}
        found[name] = {"weights": np.array(distances), **losses}
    print(f"{experiment}, seed {seed}: done", file=sys.stderr)
    return found


def table(drifts: dict[str, list[Drift]], key: str, *, steps: list[int]) -> str:
    """Return one row for each experiment and step: each system's median, smallest and largest seed, and the ratio in float32."""
    lines = [f"| experiment | step | {' | '.join(LINES)} | ours / PyTorch's, float32 |", "|---|---|---|---|---|---|"]
    for experiment, seeds in drifts.items():
        for step in steps:
            of = {name: [float(drift[name][key][step - 1]) for drift in seeds] for name in LINES}
            ratios = [a / b for a, b in zip(of["ours, float32"], of["PyTorch, float32"], strict=True) if b > 0]
            cells = [_spread(values, ".1e") for values in of.values()]
            lines.append(f"| {experiment} | {step} | {' | '.join(cells)} | {_spread(ratios, '.2f')} |")
    return "\n".join(lines)


def _spread(values: list[float], style: str) -> str:
    return f"{statistics.median(values):{style}} ({min(values):{style}} to {max(values):{style}})"


def draw(drifts: dict[str, list[Drift]], path: Path) -> None:
    """Write the plot: a logarithmic panel for each experiment, with a thin line for each seed."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (experiment, seeds) in zip(figure.subplots(1, len(drifts), sharey=True), drifts.items(), strict=True):
        for name, (colour, line) in LINES.items():
            for number, drift in enumerate(seeds):
                curve = drift[name]["weights"]
                axes.plot(np.arange(len(curve)) + 1, curve, line, color=colour, linewidth=0.9, label=None if number else name)
        axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.set_title(experiment)
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("distance of all weights from\nPyTorch's float64, relative")
    figure.axes[0].legend(frameon=False)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=100, metadata={"Software": None}))


def command(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each experiment; default: 5")
    parser.add_argument("--steps", type=int, default=100, help="steps; default: 100")
    parser.add_argument("--width", type=int, default=16, help="width of both networks; default: 16")
    parser.add_argument("--figure", type=Path, help="file for the plot of the distances over the steps")
    flags = parser.parse_args(arguments)
    impl = fastest_conv_impl(jax.default_backend())
    with tempfile.TemporaryDirectory(prefix="sharingan-jax-drift-") as cache:
        jax.config.update(
            "jax_compilation_cache_dir", cache
        )  # All seeds run one program. Without the cache it is compiled for each seed.
        drifts = {
            experiment: [
                measure(experiment, seed=seed, width=flags.width, steps=flags.steps, conv_impl=impl)
                for seed in range(flags.seeds)
            ]
            for experiment in EXPERIMENTS
        }
    print(f"width {flags.width}, {flags.seeds} seeds, {impl} convolutions; jax {jax.__version__}, torch {torch.__version__}\n")
    steps = sorted({1, min(10, flags.steps), flags.steps})
    for key, title in (("weights", "All weights"), ("loss_d", "Loss_D"), ("loss_g", "Loss_G")):
        print(f"{title}, relative distance from PyTorch's float64\n\n{table(drifts, key, steps=steps)}\n")
    if flags.figure:
        draw(drifts, flags.figure)


if __name__ == "__main__":
    command(sys.argv[1:])
