"""All measures of one set of images, in one table: `MEASURES` names them, `measure_images` takes them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np

from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.features import FeatureSpace, pixel_features
from sharingan_jax.evaluation.measures.appearance import colour_distance, edge_sharpness, flat_noise
from sharingan_jax.evaluation.measures.frechet import frechet_distance
from sharingan_jax.evaluation.measures.kid import kid, mean_kernel
from sharingan_jax.evaluation.measures.memorisation import distinct, measure_memorisation
from sharingan_jax.evaluation.measures.neighbours import (
    clipped_coverage,
    clipped_density,
    expected_coverage,
    precision_recall_density_coverage,
    resampled,
)
from sharingan_jax.evaluation.measures.similarity import WINDOW, mean_pairwise_distance, ms_ssim_diversity
from sharingan_jax.evaluation.measures.sliced import sliced_wasserstein
from sharingan_jax.evaluation.turns import Turns, distances, soften

NEIGHBOURS = 5
"""k of precision, recall, density and coverage. Naeem 2020 uses 5, as do we, so that coverage means the same."""
MOST_MEMORISED = 2000
"""Samples of which the distances to all training images are taken, over all turns."""
DIVERSITY_PAIRS = 500
LEAST_SIDE = WINDOW
"""Pixels a side for which every measure is defined: the window of MS-SSIM. The feature space "random" needs 9."""

FRECHET_NOTE = "against the training images; in the space inception this is FID, for comparison with the literature"

Better = Literal["lower", "higher", "real", "neither", ""]


@dataclass(frozen=True)
class Measure:
    """One figure of a row. `better` says which way is better; "real": as near as possible to the real images' own value;
    "neither": low values are a sign of copies, and high ones are no merit, since noise has the highest.

    A measure with `in_space` is taken in each feature space, under the key `SPACE/key`.
    """

    key: str
    label: str
    better: Better
    unit: str
    note: str
    in_space: bool = True


MEASURES = (
    Measure("kid_held_out", "KID, held-out", "lower", "×10³", "against images that were not trained on"),
    Measure("kid_held_out_error", "its standard error", "", "×10³", "from leaving out one real image at a time"),
    Measure("kid_train", "KID, training", "lower", "×10³", "against the training images; slightly prefers copies"),
    Measure("kid_train_error", "its standard error", "", "×10³", "from leaving out one real image at a time"),
    Measure("precision", "precision", "higher", "", "share of samples near a real image, at equal counts"),
    Measure("recall", "recall", "higher", "", "share of real images near a sample, at equal counts"),
    Measure("density", "density", "higher", "", "real neighbourhoods a sample lies in, at equal counts; 1 for real images"),
    Measure("coverage", "coverage", "higher", "", "share of real images with a sample in their neighbourhood, at equal counts"),
    Measure("clipped_density", "clipped density", "higher", "", "falls linearly with the share of bad samples"),
    Measure("clipped_coverage", "clipped coverage", "higher", "", "falls linearly with the share of bad samples"),
    Measure("diversity", "diversity", "real", "", "mean distance between two samples over that between two real images"),
    Measure("frechet_train", "Fréchet, training", "lower", "", FRECHET_NOTE),
    Measure("sliced_wasserstein", "sliced Wasserstein", "lower", "", "of pixels at 32×32, against the training images", False),
    Measure("ms_ssim", "MS-SSIM", "real", "", "mean similarity of two samples, 0 to 1; high: all alike", False),
    Measure("colour_distance", "colour distance", "lower", "grey levels", "of the channels' means and deviations", False),
    Measure("flat_noise", "noise in flat areas", "real", "grey levels", "what is left where nothing is drawn", False),
    Measure("edge_sharpness", "sharpness of edges", "real", "grey levels a pixel", "of the strongest edges", False),
    Measure("modes_covered", "modes covered", "higher", "", "share of the real images' modes that samples show", False),
    Measure(
        "modes_divergence", "divergence of modes", "lower", "nats", "of the samples' shares of modes from the real ones", False
    ),
    Measure(
        "authentic", "authentic", "neither", "", "share farther from their nearest training image than it from its own", False
    ),
    Measure(
        "nearest_ratio", "nearest ratio", "neither", "", "distance to the nearest training image over its own nearest", False
    ),
    Measure("nearest_ratio_real", "the same of real images", "", "", "of images that were not trained on", False),
    Measure("close_share", "d1/d2 < 1/3", "lower", "", "share with one training image far nearer than all others", False),
    Measure("gap", "gap to real", "neither", "grey levels", "distance to training images, less that of unseen images", False),
    Measure("c_t", "C_T", "neither", "z", "below −3: nearer to the training images than unseen images are", False),
    Measure("neighbours_used", "neighbours used", "higher", "", "share of training images that serve as nearest", False),
)
"""Every measure, in the order of tables."""


@dataclass(frozen=True)
class Reference:
    """Real images, uint8, to measure others against: the training images [N, H, W, C], N ≥ 4, and held-out ones
    [M, H, W, C], M ≥ 3, or None.

    `digest` names the training images in the cache of features.
    """

    train: np.ndarray
    held_out: np.ndarray | None
    spaces: Sequence[FeatureSpace]
    turns: Turns
    digest: str = ""

    @cached_property
    def soft_train(self) -> np.ndarray:
        """Return the training images for distances, float32 [N, S, S, C]."""
        return soften(self.train)

    @cached_property
    def train_to_train(self) -> np.ndarray:
        """Return the distances between training images over all turns, float32 [N, N]."""
        return distances(self.soft_train, self.soft_train, self.turns)

    @cached_property
    def unseen_to_train(self) -> np.ndarray | None:
        """Return the distances from held-out to training images, float32 [M, N], or None."""
        return None if self.held_out is None else distances(soften(self.held_out), self.soft_train, self.turns)

    @cached_property
    def features(self) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """Return the features of the training and the held-out images, by space."""
        found = {}
        for space in self.spaces:
            own = space.of_dataset(self.train, digest=self.digest) if self.digest else space(self.train)
            found[space.name] = (own, None if self.held_out is None else space(self.held_out))
        return found

    @cached_property
    def real_row(self) -> dict[str, float]:
        """Return the real images' own value of measures whose best value is "real"."""
        row = {f"{space.name}/diversity": 1.0 for space in self.spaces}
        return row | {
            "ms_ssim": ms_ssim_diversity(self.train, pairs=DIVERSITY_PAIRS, seed=0),
            "flat_noise": flat_noise(self.train),
            "edge_sharpness": edge_sharpness(self.train),
        }


def measure_images(images_u8: np.ndarray, reference: Reference, *, done: Callable[[], None] = lambda: None) -> dict[str, float]:
    """Return the measures of images uint8 [F, H, W, C] by key, in the order of `MEASURES` within a space.

    All but those of modes, which count classes or clusters (`modes.Modes.figures`). F ≥ 2; H = W ≥ `LEAST_SIDE`. Raise UserError
    if a feature function fails.

    Measures that are not defined are missing: KID against held-out images if there are none, diversity if the features of all
    training images are equal, and the memorisation panel if all training images are (`distinct`).
    `done` is called after each of `parts_of(reference)` parts.
    """
    row: dict[str, float] = {}
    for space in reference.spaces:
        row |= {f"{space.name}/{key}": value for key, value in _measure_in_space(space, images_u8, reference).items()}
        done()
    train = reference.train
    row["sliced_wasserstein"] = sliced_wasserstein(pixel_features(train), pixel_features(images_u8))
    row["ms_ssim"] = ms_ssim_diversity(images_u8, pairs=DIVERSITY_PAIRS, seed=0)
    row["colour_distance"] = colour_distance(train, images_u8)
    row["flat_noise"] = flat_noise(images_u8)
    row["edge_sharpness"] = edge_sharpness(images_u8)
    done()
    if len(distinct(reference.train_to_train)) > 1:
        to_train = distances(soften(images_u8[:MOST_MEMORISED]), reference.soft_train, reference.turns)
        row |= asdict(measure_memorisation(to_train, reference.train_to_train, reference.unseen_to_train))
    done()
    return row


def parts_of(reference: Reference) -> int:
    """Return how often `measure_images` calls `done`."""
    return len(reference.spaces) + 2


def _measure_in_space(space: FeatureSpace, images_u8: np.ndarray, reference: Reference) -> dict[str, float]:
    train, held_out = reference.features[space.name]
    fake = space(images_u8)
    if fake.shape[1] != train.shape[1]:
        got = f"{train.shape[1]} of a training image and {fake.shape[1]} of another"
        raise UserError(f"features={space.name}: expected equally many numbers of each image, got {got}.")
    fake_kernel = mean_kernel(fake)  # Both references share this half of the work.
    row: dict[str, float] = {}
    for name, real in (("held_out", held_out), ("train", train)):
        if real is not None:
            found = kid(real, fake, fake_kernel=fake_kernel)
            row |= {f"kid_{name}": found.value, f"kid_{name}_error": found.standard_error}
    k = min(NEIGHBOURS, len(train) - 1, len(fake) - 1)
    row |= asdict(resampled(partial(precision_recall_density_coverage, k=k), train, fake))
    row["clipped_density"] = resampled(partial(clipped_density, k=k), train, fake)
    row["clipped_coverage"] = resampled(partial(clipped_coverage, k=k), train, fake)
    if varies(train):
        row["diversity"] = mean_pairwise_distance(fake[:MOST_MEMORISED]) / mean_pairwise_distance(train)
    row["frechet_train"] = frechet_distance(train, fake)
    return row


def varies(features: np.ndarray) -> bool:
    """Return whether any two of the features [N, D] differ."""
    return bool((features != features[:1]).any())


def perfect_coverage(reference: Reference, images: int) -> float:
    """Return the coverage of a perfect sampler of so many images, by `measure_images`: it depends on no distribution."""
    count = min(len(reference.train), images)
    return expected_coverage(count, count, min(NEIGHBOURS, count - 1))
