"""Which kinds of images a generator makes: classes of labelled data, by a classifier; clusters of the real images otherwise."""

import hashlib
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.emblems.draw import CLASSES
from sharingan_jax.data.sources.emblems import emblem_dataset
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.classifier import Classifier, train_classifier
from sharingan_jax.evaluation.features import kept_file
from sharingan_jax.evaluation.turns import Turns, align, find_template, soften
from sharingan_jax.files import write_atomically

MORE_EMBLEMS = 900
"""Emblems beyond the 100 of the data set that the classifier is trained on; the 100 themselves test it."""
COVERED = 0.1
"""A mode is covered if its share of the samples is at least this part of its share of the real images."""
MOST_CLUSTERS = 10
VERSION = "1"  # Raise it when training changes, so that older classifiers are not used.


@dataclass(frozen=True)
class Modes:
    """How samples are spread over K modes: classes that a classifier tells apart, or clusters of the real images.

    `covered` of `count` modes are covered. `entropy` of the samples' shares and `real_entropy` are in nats; `divergence` is
    Σ p ln(p / q) of the samples' shares p from the real ones q, in nats. `confidence` is the mean largest probability, next to
    that of real images; None for clusters. `accuracy` is the classifier's, on labelled images that it was not trained on.
    `as_asked` is the share of samples in which the classifier sees the class that G was asked for; None without classes.
    """

    kind: str
    count: int
    covered: int
    entropy: float
    real_entropy: float
    divergence: float
    shares: dict[str, float]
    confidence: float | None = None
    real_confidence: float | None = None
    accuracy: float | None = None
    as_asked: float | None = None

    @property
    def figures(self) -> dict[str, float]:
        """Return the measures of a row of figures: the share of modes that are covered, and the divergence in nats."""
        return {"modes_covered": self.covered / self.count, "modes_divergence": self.divergence}


def spread(shares: np.ndarray, real: np.ndarray) -> tuple[int, float, float]:
    """Return (modes covered, entropy in nats, divergence in nats) of shares [K] against those of the real images [K].

    Divergence is Σ p ln(p / q), with q at least 1e-6; 0 for equal shares. Both sum to 1.
    """
    held = shares > 0
    entropy = float(-(shares[held] * np.log(shares[held])).sum()) + 0.0
    divergence = float((shares[held] * np.log(shares[held] / np.maximum(real[held], 1e-6))).sum())
    return int((shares >= COVERED * real)[real > 0].sum()), entropy, divergence


class ClassModes:
    """Counts classes with a classifier. `names` [K] are the classes."""

    def __init__(self, classifier: Classifier, names: tuple[str, ...], train_u8: np.ndarray, labels: np.ndarray) -> None:
        self._classifier, self._names = classifier, names
        self._real = np.bincount(labels, minlength=len(names)) / len(labels)
        self._real_confidence = float(classifier.probabilities(train_u8).max(1).mean())

    def count(self, images_u8: np.ndarray, asked: np.ndarray | None = None) -> Modes:
        """Return the `Modes` of images uint8 [F, H, W, C]. G was `asked` for the classes int [F], if for any."""
        probabilities = self._classifier.probabilities(images_u8)
        seen = probabilities.argmax(1)
        shares = np.bincount(seen, minlength=len(self._names)) / len(images_u8)
        return _describe(
            "classes",
            self._names,
            shares,
            self._real,
            confidence=float(probabilities.max(1).mean()),
            real_confidence=self._real_confidence,
            accuracy=self._classifier.accuracy,
            as_asked=None if asked is None else float((seen == asked).mean()),
        )


class ClusterModes:
    """Counts clusters of the real images: k-means on softened pixels after the best turn, from seed 0. They have no names."""

    def __init__(self, train_u8: np.ndarray, turns: Turns) -> None:
        self._turns = turns
        soft = soften(train_u8)
        self._template = find_template(soft, turns)
        features = self._features(soft)
        clusters = min(MOST_CLUSTERS, len(train_u8) // 5, len(np.unique(features, axis=0)))
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # An empty cluster is left out of the counts.
            self._centres, labels = kmeans2(features, clusters, minit="++", rng=np.random.default_rng(0), missing="warn")
        self._real = np.bincount(labels, minlength=clusters) / len(labels)

    def _features(self, soft: np.ndarray) -> np.ndarray:
        return align(soft, self._template, self._turns).reshape(len(soft), -1).astype(np.float64)

    def count(self, images_u8: np.ndarray, asked: np.ndarray | None = None) -> Modes:
        """Return the `Modes` of images uint8 [F, H, W, C]. Images without labels have no classes to be asked for."""
        nearest = cdist(self._features(soften(images_u8)), self._centres).argmin(1)
        shares = np.bincount(nearest, minlength=len(self._centres)) / len(images_u8)
        names = tuple(f"cluster {i + 1}" for i in range(len(self._centres)))
        return _describe("clusters", names, shares, self._real)


def _describe(kind: str, names: tuple[str, ...], shares: np.ndarray, real: np.ndarray, **others: float | None) -> Modes:
    covered, entropy, divergence = spread(shares, real)
    _, real_entropy, _ = spread(real, real)
    named = dict(zip(names, shares.tolist(), strict=True))
    return Modes(kind, int((real > 0).sum()), covered, entropy, real_entropy, divergence, named, **others)


def make_mode_counter(
    dataset: ImageDataset, train_u8: np.ndarray, turns: Turns, *, say: Callable[[str], object] = lambda line: None
) -> ClassModes | ClusterModes:
    """Return what counts modes for a data set with these training images uint8 [N, H, W, C].

    A labelled set gets a classifier, kept in the user's cache folder under the data's digest. For emblems it is trained on
    emblems that are not in the set; for other labelled sets on four fifths of the images, and tested on the last fifth. An
    unlabelled set gets clusters.
    """
    if not _has_classes(dataset):
        return ClusterModes(train_u8, turns)
    assert dataset.labels is not None
    path = _classifier_file(dataset, turns)
    classifier = _kept(path)
    if classifier is None:
        say(f"training a classifier of the {len(dataset.classes)} classes, once for these images: about a minute on two cores")
        classifier = _train(dataset, train_u8, turns)
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in classifier.weights.items()}
        arrays["accuracy"] = classifier.accuracy
        with suppress(OSError, UserError):  # A cache that cannot be written costs time only.
            write_atomically(path, lambda file: np.savez(file, **arrays))
    return ClassModes(classifier, dataset.classes, train_u8, dataset.labels)


def has_to_train(dataset: ImageDataset, turns: Turns) -> bool:
    """Return whether `make_mode_counter` would train a classifier first: the images have labels, and none is kept for them."""
    return _has_classes(dataset) and not _classifier_file(dataset, turns).is_file()


def _has_classes(dataset: ImageDataset) -> bool:
    return dataset.labels is not None and len(dataset.classes) > 1


def _classifier_file(dataset: ImageDataset, turns: Turns) -> Path:
    return kept_file(f"classifier {VERSION}\0{turns}\0{dataset.digest}{_key_of_labels(dataset)}", ending=".npz")


def _key_of_labels(dataset: ImageDataset) -> str:
    """Return a digest of the labels, which the data's digest leaves out; "" for emblems, whose labels never change."""
    if dataset.classes == CLASSES:
        return ""
    assert dataset.labels is not None
    return "\0" + hashlib.sha256(repr((dataset.labels.tolist(), dataset.classes)).encode()).hexdigest()


def _kept(path: Path) -> Classifier | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        return Classifier({name: value for name, value in arrays.items() if name != "accuracy"}, float(arrays["accuracy"]))
    except Exception:  # A damaged file of the cache raises many kinds of error; the classifier is trained again.
        return None


def _train(dataset: ImageDataset, train_u8: np.ndarray, turns: Turns) -> Classifier:
    assert dataset.labels is not None
    if dataset.classes == CLASSES:
        drawn = emblem_dataset(size=train_u8.shape[1], channels=train_u8.shape[-1], count=100 + MORE_EMBLEMS)
        assert drawn.labels is not None
        images, labels = drawn.preview(drawn.count), drawn.labels
        test, train = slice(0, 100), slice(100, None)
    else:
        order = np.random.default_rng(0).permutation(len(train_u8))
        images, labels = train_u8[order], dataset.labels[order]
        cut = max(1, len(order) // 5)
        test, train = slice(0, cut), slice(cut, None)
    return train_classifier(
        images[train], labels[train], classes=len(dataset.classes), test_u8=images[test], test_labels=labels[test], turns=turns
    )
