"""Which feature space sees what? KID of spoilt real images in each space, and whether the spaces rank runs alike.

python -m experiments.feature_spaces --runs runs/norm_of_g --features random,gradients,examples/my_features.py:efficientnet

The runs below the folders must be of the same data at the same size. All KID are against held-out images, ×10³. Prints a table
in Markdown. The ranks of every space are compared with those of the last one, if there are at least three runs.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.stats import spearmanr

from sharingan_jax.__main__ import exit_code
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.evaluate import check_samples, load_reference
from sharingan_jax.evaluation.features import FeatureSpace, make_spaces
from sharingan_jax.evaluation.measures.kid import kid
from sharingan_jax.evaluation.turns import measure_orientation, soften
from sharingan_jax.reporting.grids import lay_on_white
from sharingan_jax.run.listing import list_runs
from sharingan_jax.run.load import Run, load_run

NOISE = (2.0, 4.0, 12.0)
"""Standard deviations of the noise on spoilt images, in grey levels."""
BLUR = 0.7
"""Standard deviation of the Gaussian blur, in pixels."""
BENT = (0.1, 0.25, 0.5)
"""How far the outlines of spoilt images are bent: root mean square of a pixel's displacement along each axis, in pixels."""
BEND_LENGTH = 2.0
"""Standard deviation of the Gaussian that makes neighbouring pixels move alike, in pixels."""
MOVED = 0.5
"""Pixels that the control of bent outlines is moved along each axis, to one side or the other, as a whole."""
FEW = 10
"""Images that the least varied set repeats."""
FEWEST_RANKED = 3
"""Runs from which on ranks are compared: two always agree or disagree wholly."""
SEED = 7


@dataclass(frozen=True)
class Comparison:
    """KID ×10³ by the names of the sets or runs, one value for each space. `ranks` are Spearman's ρ with the last space.

    There are no ranks of fewer than three runs.
    """

    spaces: tuple[str, ...]
    spoilt: dict[str, tuple[float, ...]]
    runs: dict[str, tuple[float, ...]]
    ranks: tuple[float, ...]


def spoil(real_u8: np.ndarray, *, count: int, seed: int = SEED) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names of spoilt sets and their `count` images each, made from real images uint8 [N, H, W, C]."""
    rng = np.random.default_rng(seed)
    copies = real_u8[rng.integers(0, len(real_u8), count)]
    yield "copies", copies
    for deviation in NOISE:
        noisy = copies + rng.normal(0, deviation, copies.shape)
        yield f"noise of {deviation:g} grey levels", np.clip(np.round(noisy), 0, 255).astype(np.uint8)
    yield f"blur of {BLUR} pixels", np.round(gaussian_filter(copies.astype(np.float32), (0, BLUR, BLUR, 0))).astype(np.uint8)
    yield f"only {FEW} of the images", real_u8[rng.integers(0, FEW, count)]
    for by in BENT:
        yield f"outlines bent by {by:g} pixels", bend(copies, by, rng)
    signs = rng.choice([-MOVED, MOVED], (len(copies), 2, 1, 1))
    yield f"moved by {MOVED:g} pixels, not bent", _displaced(copies, np.broadcast_to(signs, (len(copies), 2, *copies.shape[1:3])))


def bend(images_u8: np.ndarray, by: float, rng: np.random.Generator) -> np.ndarray:
    """Return images uint8 [N, H, W, C] with every pixel displaced by a smooth random field of `by` pixels, root mean square."""
    fields = rng.standard_normal((len(images_u8), 2, *images_u8.shape[1:3]))  # [N, 2, H, W]: down, right
    smooth = gaussian_filter(fields, (0, 0, BEND_LENGTH, BEND_LENGTH))
    return _displaced(images_u8, by * smooth / smooth.std((2, 3), keepdims=True))


def _displaced(images_u8: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """Return images whose pixels come from `fields` [N, 2, H, W] pixels away, by cubic splines, which hardly blur."""
    grid = np.indices(images_u8.shape[1:3])
    moved = [
        np.stack(
            [map_coordinates(image[..., c], grid + field, output=np.float32, mode="nearest") for c in range(image.shape[-1])], -1
        )
        for image, field in zip(images_u8, fields, strict=True)
    ]
    return np.clip(np.round(moved), 0, 255).astype(np.uint8)


def compare_spaces(runs: list[Run], names: list[str], *, samples: int) -> Comparison:
    """Measure spoilt images and `samples` images of each run in the spaces called `names`.

    Raise UserError if there are no runs, if they differ in data or size, or if nothing is held out.
    """
    if not runs:
        raise UserError("--runs: expected at least 1 run, found none.")
    first = runs[0].config.data
    if other := next((run for run in runs if run.config.data != first), None):
        raise UserError(f"{other.path}: its data settings are not those of {runs[0].path}. Compare runs of the same data.")
    split, _ = load_reference(first)
    if not split.held_out.count:
        raise UserError(f"{runs[0].path}: data.holdout={first.holdout:g}: expected held-out images, found none.")
    train, held_out = (lay_on_white(images.preview(images.count)) for images in (split.train, split.held_out))
    spaces = make_spaces(names, train_u8=train, turns=measure_orientation(soften(train)).turns)
    real = [space(held_out) for space in spaces]
    spoilt = {name: _kids(spaces, real, images) for name, images in spoil(train, count=samples)}
    found = {str(run.path): _kids(spaces, real, lay_on_white(run.sample(samples, seed=SEED))) for run in runs}
    columns = list(zip(*found.values(), strict=True))
    ranks = tuple(float(spearmanr(column, columns[-1]).statistic) for column in columns) if len(runs) >= FEWEST_RANKED else ()
    return Comparison(tuple(space.name for space in spaces), spoilt, found, ranks)


def _kids(spaces: list[FeatureSpace], real: list[np.ndarray], images_u8: np.ndarray) -> tuple[float, ...]:
    return tuple(kid(features, space(images_u8)).value for space, features in zip(spaces, real, strict=True))


def markdown(found: Comparison) -> str:
    """Return the tables of a comparison."""
    lines = [f"| KID ×10³ | {' | '.join(found.spaces)} |", f"|---|{'---|' * len(found.spaces)}"]
    rows = {**found.spoilt, **found.runs}
    lines += [f"| {name} | {' | '.join(f'{value:.3g}' for value in values)} |" for name, values in rows.items()]
    if found.ranks:
        ranks = " | ".join(f"{rank:.2f}" for rank in found.ranks)
        lines.append(f"| rank correlation over {len(found.runs)} runs with {found.spaces[-1]} | {ranks} |")
    return "\n".join(lines)


def command(arguments: list[str]) -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="experiments.feature_spaces", description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders with runs below them")
    parser.add_argument(
        "--features", default="random,gradients", help="feature spaces; the ranks are compared with the last one's"
    )
    parser.add_argument("--samples", type=int, default=500, help="images of each set")
    flags = parser.parse_args(arguments)

    def run() -> int:
        check_samples(flags.samples)
        runs = [load_run(each.path) for folder in flags.runs for each in list_runs(folder)]
        print(markdown(compare_spaces(runs, flags.features.split(","), samples=flags.samples)))
        return 0

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
