"""Whole trainings, ours and PyTorch's: do they give the same results?

    python -m experiments.study train --images FOLDER --runs runs/study
    python -m experiments.study collect --runs runs/study --out docs/study.json
    python -m experiments.study report --study docs/study.json --figure docs/images/study.png

`train` runs the baseline and the stabilised experiment with five seeds in each system, ours with exactly the original's loss
(loss.name=bce_clamped), and the baseline once more with our default loss. These are 21 trainings of 800 steps, about two hours on
two idle CPU cores. Stopped and started again, it resumes with the interrupted training (ours at the step where it stopped,
PyTorch's from its start). Needs torch; the PyTorch system is the tests' oracle. The two share nothing random: each draws its own
weights, order of images and latents, so the groups are independent. `collect` measures the results and writes them to one small
file, from which `report` prints the tables and draws the plot of docs/equivalence.md.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import sharingan_jax as sg
from experiments.study_results import (
    CURVES,
    WINDOW,
    draw,
    relative_statistics,
    sample_statistics,
    stuck_from,
    stuck_table,
    table,
    window_means,
)
from sharingan_jax.__main__ import exit_code
from sharingan_jax.config.load import load_config
from sharingan_jax.config.schema import Config, identity
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.sources.load import load_dataset_from_config
from sharingan_jax.devices.environment import describe_environment
from sharingan_jax.errors import UserError
from sharingan_jax.files import read_json, write_atomically, write_json, write_text
from sharingan_jax.reporting.progress import Progress
from sharingan_jax.run.folder import RunFolder, read_config, write_config
from sharingan_jax.run.latents import draw_run_latents
from sharingan_jax.run.manifest import describe_data, read_data_record, write_data_record
from sharingan_jax.run.metrics import read_metrics

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ("baseline", "stabilised")
MAY_DIFFER = ("seed", "loss.name")
DEFAULT_LOSS_SEEDS = 1
LOSS = {"ours": "bce_clamped", "default_loss": "bce"}
SAMPLES, SAMPLES_SEED = 500, 2020  # The same latents for every run, drawn in groups as large as the original's grids.
GROUP = 25


@dataclass(frozen=True)
class Cell:
    """One training of the study and its folder."""

    system: str
    experiment: str
    seed: int
    folder: Path

    @property
    def run(self) -> RunFolder:
        """The folder as a run's folder. A PyTorch training writes its config, manifest and metrics under the same names."""
        return RunFolder(self.folder)

    @property
    def fakes(self) -> Path:
        """The samples of the finished training, float32 [SAMPLES, H, W, C] in [−1, 1]. This file is written last."""
        return self.folder / "fakes.npy"

    def __str__(self) -> str:
        return f"{self.system}, {self.experiment}, seed {self.seed}"


def cells(runs: Path, *, seeds: int) -> list[Cell]:
    """Return all trainings, seed by seed, so that an interrupted study has about the same number of each kind."""
    kinds = [(system, experiment) for experiment in EXPERIMENTS for system in ("ours", "pytorch")]
    named = [(*kind, seed) for seed in range(seeds) for kind in kinds]
    named += [("default_loss", EXPERIMENTS[0], seed) for seed in range(min(seeds, DEFAULT_LOSS_SEEDS))]
    return [Cell(*name, folder=runs / f"{name[0]}-{name[1]}" / f"seed-{name[2]}") for name in named]


def train(images: Path, runs: Path, *, seeds: int, sizes: list[tuple[str, str]]) -> None:
    """Run the missing trainings, with `sizes` as further settings."""
    todo = [cell for cell in cells(runs, seeds=seeds) if not cell.fakes.is_file()]
    for number, cell in enumerate(todo, 1):
        print(f"[{number}/{len(todo)}] {cell}", flush=True)
        settings = [("data.source", "folder"), ("data.path", str(images)), ("seed", str(cell.seed)), *sizes]
        if cell.system == "pytorch":
            _train_pytorch(cell, settings)
        else:
            _train_ours(cell, [*settings, ("loss.name", LOSS[cell.system])])


def _train_ours(cell: Cell, settings: list[tuple[str, str]]) -> None:
    sampler = sg.train(load_config(_config_file(cell), settings), workdir=cell.folder).sampler()
    _write_fakes(cell, sampler.draw(_latents(sampler.nz), group=GROUP))


def _train_pytorch(cell: Cell, settings: list[tuple[str, str]]) -> None:
    import torch

    from pytorch_reference import oracle

    config = load_config(_config_file(cell), settings)
    dataset = load_dataset_from_config(config.data)
    real = oracle.as_torch(dataset.preview(dataset.count).astype(np.float32) / 127.5 - 1.0)
    torch.manual_seed(config.seed)
    gen = oracle.Generator(nz=config.model.nz, width=config.model.gen.width, spectral=config.model.gen.spectral_norm)
    disc = oracle.Discriminator(width=config.model.disc.width, spectral=config.model.disc.spectral_norm)
    for net in (gen, disc):
        oracle.initialise(net)
    training = oracle.Training(gen, disc, beta=config.loss.beta, clip_norm=config.optim.disc.clip_norm)
    records = list(_pytorch_steps(config, training, real))
    write_text(cell.run.metrics, "".join(json.dumps(record, allow_nan=False) + "\n" for record in records))
    _describe_pytorch(cell, config, dataset)
    fakes = torch.cat([oracle.sample(gen, part) for part in torch.tensor(_latents(config.model.nz)).split(GROUP)])
    _write_fakes(cell, fakes.permute(0, 2, 3, 1).numpy())


def _describe_pytorch(cell: Cell, config: Config, dataset: ImageDataset) -> None:
    import torch

    environment = describe_environment()
    environment["versions"] |= {"torch": torch.__version__}
    threads = {"torch_threads": torch.get_num_threads()}
    write_config(cell.run, config)
    write_data_record(cell.run.data, describe_data(config, dataset))
    write_json(cell.run.manifest, {**environment, **threads})


def _pytorch_steps(config: Config, training: Any, real: Any) -> Iterator[dict[str, Any]]:
    """Run the original's loop over `real` [N, C, H, W] with PyTorch's own order and latents. Yield the record of each step."""
    import torch

    count, size = len(real), config.train.batch_size
    plan = BatchPlan(count, batch_size=size, seed=config.seed, last_batch=config.data.last_batch)
    start = time.perf_counter()
    with Progress(
        total_steps=config.train.steps,
        first_step=1,
        batches_per_epoch=plan.batches_per_epoch,
        every=config.log.every,
        stream=sys.stderr,
    ) as progress:
        for step in range(1, config.train.steps + 1):
            place = (step - 1) % plan.batches_per_epoch
            if place == 0:
                order = torch.randperm(count)
            batch = real[order[place * size : (place + 1) * size]]
            metrics = training.step(batch, torch.randn(len(batch), config.model.nz))
            record = {"step": step, "epoch": plan.epoch_of(step), "time": round(time.perf_counter() - start, 3), **metrics}
            progress.update(record)
            yield record


def _latents(nz: int) -> np.ndarray:
    return draw_run_latents(SAMPLES_SEED, count=SAMPLES, nz=nz)


def _write_fakes(cell: Cell, fakes: np.ndarray) -> None:
    write_atomically(cell.fakes, lambda file: np.save(file, fakes))


def _config_file(cell: Cell) -> Path:
    return ROOT / "configs" / f"{cell.experiment}.py"


def collect(runs: Path, out: Path, *, seeds: int) -> None:
    """Write the study's file. Raise UserError, naming the missing trainings, if it is not complete."""
    every = cells(runs, seeds=seeds)
    missing = [str(cell) for cell in every if not cell.fakes.is_file()]
    if missing:
        raise UserError(f"{runs}: not trained yet: {'; '.join(missing)}; `train` continues with them")
    _check_alike(every)
    config = read_config(every[0].run)
    dataset = load_dataset_from_config(config.data)
    real = sample_statistics(dataset.preview(dataset.count) / 127.5 - 1.0)
    study = {
        "command": "python -m experiments.study collect",
        "window": WINDOW,
        "steps": config.train.steps,
        "samples": SAMPLES,
        "pictures": {"count": dataset.count, "fingerprint": dataset.digest},
        "versions": {
            name: sorted({versions.get(name, "–") for versions in map(_versions, every)}) for name in ("jax", "torch", "python")
        },
        "real": {name: float(f"{value:.6g}") for name, value in real.items()},
        "runs": [_measured(cell, real) for cell in every],
    }
    write_json(out, study)


def _versions(cell: Cell) -> dict[str, str]:
    manifest = read_json(cell.run.manifest)
    versions: dict[str, str] = (manifest["starts"][-1]["environment"] if "starts" in manifest else manifest)["versions"]
    return versions


def _check_alike(every: list[Cell]) -> None:
    """Raise UserError if trainings of one experiment had different images, or settings that differ in more than the seed and
    the loss."""
    seen: dict[str, tuple[Cell, dict[str, Any]]] = {}
    for cell in every:
        settings = {key: value for key, value in identity(read_config(cell.run)).items() if key not in MAY_DIFFER}
        settings["train.steps"] = read_config(cell.run).train.steps
        settings["images"] = read_data_record(cell.run.data).digest
        first, expected = seen.setdefault(cell.experiment, (cell, settings))
        differing = [
            f"{key} is {settings[key]!r} and was {expected[key]!r}" for key in expected if settings[key] != expected[key]
        ]
        if differing:
            raise UserError(f"{cell.folder}: not a training like {first}: {'; '.join(differing)}; train it again")


def _measured(cell: Cell, real: dict[str, float]) -> dict[str, Any]:
    records = read_metrics(cell.run)
    curves = {key: window_means([record[key] for record in records]) for key in CURVES}
    name = {"system": cell.system, "experiment": cell.experiment, "seed": cell.seed}
    stuck = {"stuck_from": stuck_from([record["grad_norm_g"] for record in records])}
    return name | stuck | relative_statistics(np.load(cell.fakes), real) | curves


def report(path: Path, figure: Path) -> None:
    """Print the tables of a study's file and draw its plot."""
    study = read_json(path)
    print(f"{stuck_table(study)}\n")
    for experiment in EXPERIMENTS:
        print(f"`{experiment}`\n\n{table(study, experiment)}\n")
    draw(study, figure)


def command(arguments: list[str]) -> int:
    return exit_code(lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "collect", "report"), help="train, measure the results, or print them")
    parser.add_argument("--runs", type=Path, default=Path("runs/study"), help="folder of the trainings; default: runs/study")
    parser.add_argument("--images", type=Path, help="train: the folder of images")
    parser.add_argument("--seeds", type=int, default=5, help="train, collect: trainings of each kind; default: 5")
    parser.add_argument("--steps", type=int, default=800, help="train: steps of each training; default: 800")
    parser.add_argument("--width", type=int, default=64, help="train: width of both networks; default: 64")
    parser.add_argument("--out", type=Path, default=Path("docs/study.json"), help="collect: the file; default: docs/study.json")
    parser.add_argument("--study", type=Path, default=Path("docs/study.json"), help="report: the file; default: docs/study.json")
    parser.add_argument("--figure", type=Path, default=Path("docs/images/study.png"), help="report: file for the plot")
    flags = parser.parse_args(arguments)
    match flags.what:
        case "report":
            report(flags.study, flags.figure)
        case "collect":
            collect(flags.runs, flags.out, seeds=flags.seeds)
        case _ if flags.images is None:
            parser.error("train needs --images, a folder")
        case _:
            widths = [("model.gen.width", str(flags.width)), ("model.disc.width", str(flags.width))]
            sizes = [("train.steps", str(flags.steps)), *widths]
            train(flags.images, flags.runs, seeds=flags.seeds, sizes=sizes)
    return 0


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
