"""Does a generator copy its training images? Measures on distances from samples to training images.

All take distances that are already minimised over turns (`evaluation/turns.py`). Written for a hundred training images, where
measures of quality and diversity do not notice copies.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

CLOSE = 1 / 3
"""A sample is close to one training image if d1/d2 is below this. Papers: Yoon et al. 2023, section 3; Favero et al. 2025."""


@dataclass(frozen=True)
class Memorisation:
    """The memorisation panel. Values of real images that were not trained on stand next to those of the samples."""

    authentic: float
    nearest_ratio: float
    nearest_ratio_real: float
    close_share: float
    gap: float
    c_t: float
    neighbours_used: float


def leave_one_out(train_to_train: np.ndarray) -> np.ndarray:
    """Return the distances [N, N] between training images with infinity on the diagonal: no image is its own neighbour."""
    distances = train_to_train.astype(np.float64)
    np.fill_diagonal(distances, np.inf)
    return distances


def authentic_share(samples_to_train: np.ndarray, train_to_train: np.ndarray) -> float:
    """Return the share of samples that are farther from their nearest training image than this image is from its own nearest.

    In [0, 1]; higher means fewer copies. About 0.7 for a perfect sampler of broad data, 0 for copies.
    Distances: samples to training images [F, N]; training images to each other [N, N], with infinity on the diagonal.
    Paper: Alaa et al. 2022, "How Faithful is your Synthetic Data?", equation 6.
    """
    return float((nearest_ratios(samples_to_train, train_to_train) > 1).mean())


def nearest_ratios(samples_to_train: np.ndarray, train_to_train: np.ndarray) -> np.ndarray:
    """Return each sample's distance to its nearest training image over that image's distance to its own nearest, float64 [F].

    0 for an exact copy. If two training images are equal, a sample nearest to them has ratio 1 if it is a copy of them too, else
    infinity.
    """
    nearest = samples_to_train.argmin(1)
    own = samples_to_train.min(1).astype(np.float64)
    between = train_to_train.min(1)[nearest]
    ratios = np.full(len(own), np.inf)
    np.divide(own, between, out=ratios, where=between > 0)
    ratios[(between == 0) & (own == 0)] = 1
    return ratios


def close_share(samples_to_train: np.ndarray) -> float:
    """Return the share of samples whose nearest training image is less than `CLOSE` times as far as their second nearest.

    In [0, 1]; lower means fewer copies. It has no parameter to fit, and needs at least two training images.
    Papers: Yoon et al. 2023, "Diffusion Probabilistic Models Generalize when They Fail to
    Memorize", section 3; Favero et al. 2025.
    """
    first, second = np.partition(samples_to_train, 1, axis=1)[:, :2].T
    return float((first < CLOSE * second).mean())


def distance_gap(samples_to_train: np.ndarray, unseen_to_train: np.ndarray) -> float:
    """Return the median distance to the nearest training image of samples, minus that of real images not trained on.

    In the distances' unit (grey levels). Clearly below 0: samples are nearer to the training images than new real ones are.
    """
    return float(np.median(samples_to_train.min(1)) - np.median(unseen_to_train.min(1)))


def copying_z(samples_to_train: np.ndarray, unseen_to_train: np.ndarray) -> float:
    """Return C_T, the z-score of a Mann–Whitney test that samples are farther from the training images than unseen ones.

    Z = (U − F·M/2) / sqrt(F·M·(F + M + 1) / 12), where U counts the pairs in which the sample is farther, ties half.
    About N(0, 1) for a perfect sampler; below −3 is evidence of copying, above 3 of samples that are too far away.
    Paper: Meehan et al. 2020, "A Three Sample Test to Detect Data-Copying in Generative Models", section 3, with one cell, since
    a hundred images cannot fill several.
    """
    samples, unseen = samples_to_train.min(1), unseen_to_train.min(1)
    count, others = len(samples), len(unseen)
    u = rankdata(np.concatenate([samples, unseen]))[:count].sum() - count * (count + 1) / 2
    return float((u - count * others / 2) / np.sqrt(count * others * (count + others + 1) / 12))


def neighbours_used(samples_to_train: np.ndarray) -> float:
    """Return the share of training images that serve as nearest neighbour, in (0, 1], by the exponential of the entropy.

    exp(−Σ p_i ln p_i) / N, where p_i is the share of samples whose nearest training image is i. 1 if all serve equally often;
    1/N if one serves all samples.
    """
    counts = np.bincount(samples_to_train.argmin(1), minlength=samples_to_train.shape[1])
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()) / samples_to_train.shape[1])


def distinct(train_to_train: np.ndarray) -> np.ndarray:
    """Return the indices of the training images that equal no earlier one, from their distances [N, N].

    The copy of an image that is there twice has two equally near neighbours, and these have each other. So neither d1/d2 nor
    the ratio of distances would notice it.
    """
    return np.flatnonzero(~np.tril(train_to_train == 0, -1).any(1))


def measure_memorisation(
    samples_to_train: np.ndarray, train_to_train: np.ndarray, unseen_to_train: np.ndarray | None
) -> Memorisation:
    """Return the panel for distances [F, N], [N, N] and [M, N].

    `unseen_to_train` is of held-out images. If it is None, each training image stands for an unseen one, with its distances to
    the others (leave one out). Of equal training images the first one counts. At least two must differ.
    """
    kept = distinct(train_to_train)
    between, samples_to_train = leave_one_out(train_to_train[np.ix_(kept, kept)]), samples_to_train[:, kept]
    unseen = between if unseen_to_train is None else unseen_to_train[:, kept]
    return Memorisation(
        authentic=authentic_share(samples_to_train, between),
        nearest_ratio=float(np.median(nearest_ratios(samples_to_train, between))),
        nearest_ratio_real=float(np.median(nearest_ratios(unseen, between))),
        close_share=close_share(samples_to_train),
        gap=distance_gap(samples_to_train, unseen),
        c_t=copying_z(samples_to_train, unseen),
        neighbours_used=neighbours_used(samples_to_train),
    )
