"""How samples are spread over classes and clusters: closed forms, a classifier of a toy set, clusters of other images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharingan_jax.data.dataset import ArrayDataset, ImageDataset, array_digests
from sharingan_jax.data.emblems.draw import CLASSES
from sharingan_jax.data.sources.emblems import emblem_dataset
from sharingan_jax.evaluation import classifier, features, modes
from sharingan_jax.evaluation.classifier import train_classifier
from sharingan_jax.evaluation.evaluate import classes_in_shares
from sharingan_jax.evaluation.modes import ClassModes, ClusterModes, make_mode_counter, spread
from sharingan_jax.evaluation.turns import UNTURNED, Turns

KINDS = ("disc", "square", "bar", "blank")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, empty; and few steps of training."""
    monkeypatch.setattr(features, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(classifier, "STEPS", 80)
    return tmp_path / "cache" / "sharingan_jax" / "features"


def _shapes(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw discs, squares, bars and blanks of several sizes and colours, uint8 [N, 32, 32, 3], with their kinds."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % len(KINDS)
    y, x = np.mgrid[:32, :32] - 15.5
    images = []
    for label in labels:
        radius = rng.uniform(7, 11)
        masks = [
            np.hypot(x, y) < radius,
            np.maximum(abs(x), abs(y)) < radius,
            (abs(y) < 2.5) & (abs(x) < 14),
            np.zeros_like(x, bool),
        ]
        image = np.where(masks[label][..., None], rng.integers(0, 120, 3), 255)
        images.append(image + rng.integers(-3, 1, image.shape))
    return np.clip(images, 0, 255).astype(np.uint8), labels


def _dataset(images: np.ndarray, labels: np.ndarray | None = None) -> ImageDataset:
    names = tuple(f"{i}.png" for i in range(len(images)))
    classes = () if labels is None else KINDS
    return ArrayDataset(images=images, names=names, digests=array_digests(images), labels=labels, classes=classes)


def test_equal_shares_cover_all_and_do_not_diverge() -> None:
    covered, entropy, divergence = spread(np.full(4, 0.25), np.full(4, 0.25))
    assert (covered, divergence) == (4, 0.0)
    assert entropy == pytest.approx(np.log(4))


def test_one_mode_alone_has_no_entropy_and_diverges_by_the_logarithm_of_their_number() -> None:
    covered, entropy, divergence = spread(np.array([0.0, 1.0, 0.0, 0.0]), np.full(4, 0.25))
    assert (covered, entropy) == (1, 0.0)
    assert divergence == pytest.approx(np.log(4))


def test_a_mode_is_covered_from_a_tenth_of_its_real_share_on() -> None:
    real = np.array([0.5, 0.5])
    assert spread(np.array([0.95, 0.05]), real)[0] == 2
    assert spread(np.array([0.951, 0.049]), real)[0] == 1
    # A mode that the real images lack cannot be covered, and costs a finite divergence.
    covered, _, divergence = spread(np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    assert covered == 1
    assert divergence == pytest.approx(0.5 * np.log(0.5) + 0.5 * np.log(0.5 / 1e-6))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=2, max_size=12))
def test_entropy_and_divergence_stay_in_their_ranges(counts: list[tuple[int, int]]) -> None:
    drawn, real = (np.array(column, float) for column in zip(*counts, strict=True))
    if drawn.sum() == 0:
        drawn[0] = 1
    covered, entropy, divergence = spread(drawn / drawn.sum(), real / real.sum())
    assert 1 <= covered <= len(counts)
    assert 0 <= entropy <= np.log(len(counts)) + 1e-9
    assert divergence >= -1e-9


@pytest.mark.slow
def test_the_classifier_tells_shapes_apart_that_it_has_not_seen() -> None:
    images, labels = _shapes(120, seed=0)
    test, test_labels = _shapes(60, seed=1)
    turns = Turns(angles=4)
    trained = train_classifier(images, labels, classes=4, test_u8=test, test_labels=test_labels, turns=turns)
    assert trained.accuracy > 0.6  # Chance is 0.25.
    probabilities = trained.probabilities(test)
    assert (probabilities.shape, probabilities.dtype) == ((60, 4), np.float32)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert (probabilities.argmax(1) == test_labels).mean() == trained.accuracy
    again = train_classifier(images, labels, classes=4, test_u8=test, test_labels=test_labels, turns=turns)
    assert again.probabilities(test).tobytes() == probabilities.tobytes()


def test_classes_of_labelled_images_are_counted() -> None:
    images, labels = _shapes(120, seed=0)
    counter = make_mode_counter(_dataset(images, labels), images, UNTURNED)
    assert isinstance(counter, ClassModes)
    found = counter.count(images)
    assert (found.kind, found.count, found.covered) == ("classes", 4, 4)
    assert found.real_entropy == pytest.approx(np.log(4))
    assert found.divergence < 0.1
    assert found.accuracy > 0.6
    assert found.confidence == found.real_confidence  # The same images.
    assert set(found.shares) == set(KINDS)
    only = counter.count(images[labels == 1])
    assert only.covered <= 2
    assert only.entropy < np.log(2)
    assert only.divergence > np.log(2)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04"),
        lambda path: path.unlink(),
    ],
    ids=["short", "empty", "zip", "gone"],
)
def test_the_classifier_is_kept_and_trained_again_if_its_file_is_damaged(
    cache: Path, damage: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "STEPS", 3)
    images, labels = _shapes(40, seed=0)
    lines: list[str] = []
    first = make_mode_counter(_dataset(images, labels), images, UNTURNED, say=lines.append).count(images)
    second = make_mode_counter(_dataset(images, labels), images, UNTURNED, say=lines.append).count(images)
    assert second == first
    assert lines == ["training a classifier of the 4 classes, once for these images: about a minute on two cores"]
    (path,) = cache.iterdir()
    damage(path)
    assert make_mode_counter(_dataset(images, labels), images, UNTURNED, say=lines.append).count(images) == first
    assert len(lines) == 2
    assert make_mode_counter(_dataset(images, labels), images, UNTURNED, say=lines.append).count(images) == first
    assert len(lines) == 2


def test_other_images_turns_or_labels_get_another_classifier(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "STEPS", 1)
    images, labels = _shapes(40, seed=0)
    make_mode_counter(_dataset(images, labels), images, UNTURNED)
    make_mode_counter(_dataset(images, labels), images, Turns(angles=4))
    make_mode_counter(_dataset(images[::-1], labels[::-1]), images[::-1], UNTURNED)
    make_mode_counter(_dataset(images, (labels + 1) % len(KINDS)), images, UNTURNED)
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize("channels", [1, 3])
def test_the_emblems_classifier_is_trained_on_emblems_outside_of_the_set(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, np.ndarray] = {}

    def train(images: np.ndarray, labels: np.ndarray, *, test_u8: np.ndarray, **_: object) -> classifier.Classifier:
        seen.update(train=images, test=test_u8)
        return classifier.Classifier(classifier._init(np.random.default_rng(0), channels=channels, classes=20), accuracy=0.5)

    monkeypatch.setattr(modes, "MORE_EMBLEMS", 30)
    monkeypatch.setattr(modes, "train_classifier", train)
    dataset = emblem_dataset(size=32, channels=channels)
    images = dataset.preview(100)
    found = make_mode_counter(dataset, images, Turns()).count(images)
    assert set(found.shares) == set(CLASSES)
    assert (len(seen["train"]), len(seen["test"])) == (30, 100)
    # Grey ones are averaged in the classifier's set and weighted in the data set, so they differ by some grey levels.
    assert np.abs(seen["test"].astype(int) - images).max() <= (0 if channels == 3 else 90)
    new = emblem_dataset(size=32, channels=channels, first=100).preview(30)
    assert np.abs(seen["train"].astype(int) - new).max() <= (0 if channels == 3 else 90)


@pytest.mark.slow
def test_the_emblems_classifier_is_right_nine_times_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "STEPS", 1500)
    dataset = emblem_dataset(size=32, channels=3)
    found = make_mode_counter(dataset, dataset.preview(100), Turns()).count(dataset.preview(100))
    assert found.accuracy > 0.85
    assert found.covered == 20


def test_unlabelled_images_are_counted_in_clusters_that_are_called_so() -> None:
    images, labels = _shapes(80, seed=0)
    counter = make_mode_counter(_dataset(images), images, UNTURNED)
    assert isinstance(counter, ClusterModes)
    found = counter.count(images)
    assert (found.kind, found.count) == ("clusters", 10)
    assert found.covered == 10
    assert found.divergence == pytest.approx(0, abs=1e-9)
    assert found.entropy == found.real_entropy
    assert (found.accuracy, found.confidence) == (None, None)
    assert list(found.shares) == [f"cluster {i}" for i in range(1, 11)]
    blanks = counter.count(images[labels == 3])
    assert blanks.covered < 5
    assert blanks.divergence > 0.5
    assert ClusterModes(images, UNTURNED).count(images) == found


def test_a_turned_image_is_in_the_cluster_of_the_image() -> None:
    bars = _shapes(80, seed=0)[0][2::4]
    squares = _shapes(80, seed=0)[0][1::4]
    counter = ClusterModes(np.concatenate([bars, squares]), Turns(angles=4))
    upright, turned = counter.count(bars), counter.count(np.rot90(bars, axes=(1, 2)))
    assert turned.shares == upright.shares


@pytest.mark.parametrize(("different", "copies"), [(1, 20), (2, 30), (3, 4)])
def test_copies_among_the_images_make_fewer_clusters_and_no_warning(different: int, copies: int) -> None:
    images = np.repeat(_shapes(different, seed=0)[0], copies, axis=0)
    found = ClusterModes(images, UNTURNED).count(images)
    assert found.count == found.covered == min(different, len(images) // 5)


def test_a_set_with_one_class_gets_clusters() -> None:
    images, _ = _shapes(20, seed=0)
    named = tuple(map(str, range(20)))
    alike = ArrayDataset(
        images=images, names=named, digests=array_digests(images), labels=np.zeros(20, np.int64), classes=("one",)
    )
    assert isinstance(make_mode_counter(alike, images, UNTURNED), ClusterModes)


def test_a_conditional_run_is_asked_for_the_shares_of_the_data_in_a_mixed_order() -> None:
    labels = np.repeat([0, 1, 2], [10_000, 5_000, 5_000])  # Sorted, as the images of a folder are.
    asked = classes_in_shares(labels, 1000)
    np.testing.assert_allclose(np.bincount(asked) / 1000, [0.5, 0.25, 0.25], atol=0.05)
    assert all(len(set(part.tolist())) == 3 for part in np.array_split(asked, 10))
    few = classes_in_shares(np.array([0, 1, 1, 1]), 400)
    np.testing.assert_array_equal(np.bincount(few), [100, 300])
