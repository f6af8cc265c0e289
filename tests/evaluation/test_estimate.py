"""How long an evaluation is said to take: what it grows with, and the classifier that is trained once."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import sharingan_jax as sg
from sharingan_jax.data.dataset import ArrayDataset, array_digests
from sharingan_jax.data.split import Split
from sharingan_jax.evaluation import classifier, estimate, features
from sharingan_jax.evaluation.estimate import CLASSIFIER_SECONDS, estimate_evaluation, evaluation_seconds
from sharingan_jax.evaluation.features import FeatureSpace
from sharingan_jax.evaluation.modes import has_to_train, make_mode_counter
from sharingan_jax.evaluation.turns import UNTURNED, measure_orientation, soften

USUAL = {"samples": 5000, "sets": 1, "real": 100, "turns": 144}


@pytest.mark.parametrize("more", [{"samples": 10_000}, {"sets": 2}, {"real": 1000}, {"turns": 288}])
def test_the_time_grows_with_everything_that_takes_time(more: dict[str, int]) -> None:
    spaces = ["pixels", "random"]
    assert evaluation_seconds(spaces, **USUAL | more) > 1.05 * evaluation_seconds(spaces, **USUAL)
    assert evaluation_seconds([*spaces, "gradients"], **USUAL) > 1.2 * evaluation_seconds(spaces, **USUAL)
    assert evaluation_seconds(["inception"], **USUAL) > 0.2 * 10_000


def test_a_default_evaluation_is_said_to_take_about_half_a_minute() -> None:
    assert 20 < evaluation_seconds(["pixels", "aligned", "random", "gradients"], **USUAL) < 60


def test_a_function_of_ones_own_counts_with_the_time_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that the function moves by a second an image, and by a hundred when it loads."""
    now = [0.0]
    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def function(images: np.ndarray) -> np.ndarray:
        now[0] += len(images) + (100 if now[0] == 0 else 0)
        return np.ones((len(images), 2))

    images = np.zeros((20, 8, 8, 3), np.uint8)
    spaces = [FeatureSpace("mine", "mine", function, own=True), FeatureSpace("pixels", "pixels", features.pixel_features)]
    assert estimate.own_seconds(spaces, images) == 1
    assert estimate.own_seconds(spaces[1:], images) == 0
    few = {"samples": 500, "sets": 2, "real": 100, "turns": 1}
    more = evaluation_seconds(["mine"], **few, own=1.0) - evaluation_seconds(["mine"], **few)
    assert more == pytest.approx(100 + 2 * 500 + 5 * 500)


def test_a_comparisons_estimate_calls_functions_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import time\n\ndef slow(images):\n    time.sleep(0.02 * len(images))\n    return images.reshape(len(images), -1)\n"
    )
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    dataset = ArrayDataset(images=images, names=tuple(map(str, range(20))), digests=array_digests(images))
    split = Split(dataset, dataset.subset(()))
    seconds = [estimate_evaluation(split, names, samples=100, sets=1) for names in (["pixels"], ["pixels", f"{file}:slow"])]
    assert seconds[1] > seconds[0] + 0.02 * (20 + 100 + 5 * 100)
    file.write_text("def slow(images):\n    return images.missing\n")
    with pytest.raises(sg.UserError, match="the function failed: AttributeError"):
        estimate_evaluation(split, [f"{file}:slow"], samples=100, sets=1)


def test_the_classifier_counts_until_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(classifier, "STEPS", 1)
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    names, digests = tuple(map(str, range(20))), array_digests(images)
    plain = ArrayDataset(images=images, names=names, digests=digests)
    labelled = ArrayDataset(images=images, names=names, digests=digests, labels=np.arange(20) % 2, classes=("a", "b"))
    unseen = plain.subset(())

    def seconds(dataset: ArrayDataset) -> float:
        return estimate_evaluation(Split(dataset, unseen), ["pixels"], samples=100, sets=1)

    assert not has_to_train(plain, UNTURNED)
    assert seconds(labelled) == seconds(plain) + CLASSIFIER_SECONDS
    make_mode_counter(labelled, images, measure_orientation(soften(images)).turns)
    assert seconds(labelled) == seconds(plain)
