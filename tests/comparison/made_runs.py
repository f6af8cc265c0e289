"""Run folders and evaluations that are made up, for the tests of reports."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from conftest import smoke_config

from sharingan_jax.comparison.assemble import assemble
from sharingan_jax.comparison.plan import StudyRun
from sharingan_jax.comparison.results import Report
from sharingan_jax.config.schema import Config, to_dict
from sharingan_jax.evaluation.controls import COPIES, REAL_HALF
from sharingan_jax.evaluation.judge import RAW, Evaluation
from sharingan_jax.gan.metrics import METRIC_NAMES
from sharingan_jax.reporting.grids import make_grid, save_png
from sharingan_jax.run.folder import RunFolder, write_config
from sharingan_jax.run.manifest import DataSummary, Device, Environment, Manifest, Start, config_digest, write_manifest
from sharingan_jax.run.metrics import Record, write_metrics

HELD_OUT = "random/kid_held_out"
CONFIG = smoke_config(sample__num="10", sample__columns="4")
OTHER = replace(CONFIG, optim=replace(CONFIG.optim, disc=replace(CONFIG.optim.disc, lr=1e-4)))


def make_environment(*, stacked_seeds: int = 1, kind: str = "x86") -> Environment:
    return Environment(
        Device("cpu", kind, 1, 1), stacked_seeds, 1, "direct", 2, "", "", {"jax": "0.1"}, None, "Linux", "x86_64", {}, "little"
    )


def make_records(steps: int, *, loss: float = 1.0, signs: Mapping[int, float] | None = None) -> list[Record]:
    """Return records with loss_d = `loss` · step, a loss_g at even steps only, and the diversities `signs` by step."""
    found = []
    for step in range(1, steps + 1):
        record: Record = {"step": step, "epoch": 1, "time": 0.1 * step, **dict.fromkeys(METRIC_NAMES, 0.5), "loss_d": loss * step}
        record["loss_g"] = 2.0 * step if step % 2 == 0 else None
        if step in (signs or {}):
            record |= {"diversity": (signs or {})[step], "nearest_ratio": 1.0, "kid_pixels": None}
        found.append(record)
    return found


def make_run(
    path: Path,
    config: Config = CONFIG,
    *,
    seed: int = 0,
    status: str = "complete",
    records: Sequence[Record] | None = None,
    grids: Mapping[int, np.ndarray] | None = None,
    data: str = "d" * 64,
    environment: Environment | None = None,
) -> Path:
    """Write a run's folder as training does, without checkpoints."""
    folder, config = RunFolder(path), replace(config, seed=seed)
    records = make_records(12) if records is None else records
    ended = status in ("complete", "stopped", "collapsed")
    write_config(folder, config)
    write_metrics(folder, records)
    manifest = Manifest(
        status=status,
        seed=seed,
        step=len(records) if ended else 0,
        total_steps=12,
        config=to_dict(config),
        config_digest=config_digest(config),
        data=DataSummary("emblems", 100, data, 0, 0, 0),
        starts=(Start(0, environment or make_environment(), {"every": 4, "num": 10, "columns": 4}),),
        digest=f"{seed:064x}" if ended else None,
        images_seen=300 if ended else 0,
        wall_seconds=5.0 + seed,
    )
    write_manifest(folder.manifest, manifest)
    for step, images in (grids or {}).items():
        save_png(folder.sample(step), make_grid(images, columns=4))
    return path


def make_evaluation(kid: float, *, diversity: float = 0.8, flat: float = 3.0, **more: Any) -> Evaluation:
    """Return an evaluation with a primary measure, one whose best value is the real images', and one without a space."""
    row = {HELD_OUT: kid, "random/diversity": diversity, "flat_noise": flat, "close_share": 0.25, "nearest_ratio_real": 1.0}
    controls = {REAL_HALF: dict.fromkeys(row, 1.0), COPIES: {**row, HELD_OUT: 0.125, "flat_noise": 2.0}}
    return Evaluation(**{
        "subject": "a run", "step": 12, "digest": "", "samples": 100, "asked": {"random": "random"}, "train_images": 80,
        "held_out_images": 20, "orientation": {"is_free": True}, "spaces": {"random": "a random network"},
        "skipped_spaces": {"inception": "no weights"}, "primary": HELD_OUT, "rows": {RAW: row, **controls},
        "real": {"random/diversity": 1.0, "flat_noise": 2.0}, "perfect_coverage": 0.9, "copies_win": ("flat_noise",),
        "modes": {"kind": "clusters"}, "note": "the held-out images were drawn.", **more,
    })  # fmt: skip


def make_report(runs: Sequence[tuple[StudyRun, Evaluation | None]], root: Path) -> Report:
    evaluations = {run.path: evaluation for run, evaluation in runs if evaluation is not None}
    return assemble([run for run, _ in runs], evaluations, title="A title", command="a command", root=root)


def make_study(root: Path, kids: Mapping[str, Sequence[float | None]]) -> Report:
    """Return the report on runs with these primary measures by variant, one for each seed; None: no evaluation."""
    runs = []
    for name, values in kids.items():
        for seed, value in enumerate(values):
            path = make_run(root / name / f"seed-{seed}", CONFIG if name == "a" else OTHER, seed=seed)
            runs.append((StudyRun(name, seed, path), None if value is None else make_evaluation(value)))
    return make_report(runs, root)


def photo_noise(count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return images uint8 [count, side, side, 3] whose amplitude falls with 1 / frequency, as in photographs (Field 1987)."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    spectrum = np.fft.rfft2(rng.normal(size=(count, 3, side, side))) / np.maximum(frequency, 1 / side)[None, None]
    images = np.fft.irfft2(spectrum, s=(side, side))
    images = images + 2 * images.mean(axis=1, keepdims=True)
    return np.clip(128 + 50 * images / images.std(), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def rows_of_eight(images_u8: np.ndarray) -> np.ndarray:
    """Return images uint8 [N, H, W, C], N a multiple of 8, as one image with eight of them in a row."""
    count, height, width, channels = images_u8.shape
    rows = images_u8.reshape(count // 8, 8, height, width, channels).swapaxes(1, 2)  # [R, H, 8, W, C]
    return rows.reshape(count // 8 * height, 8 * width, channels)
