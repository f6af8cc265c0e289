"""How long an evaluation is said to take: what it grows with, and the classifier that is trained once."""

from pathlib import Path

import numpy as np
import pytest

from sharingan_jax.data.dataset import ArrayDataset, array_digests
from sharingan_jax.data.split import Split
from sharingan_jax.evaluation import classifier, features
from sharingan_jax.evaluation.estimate import CLASSIFIER_SECONDS, estimate_evaluation, evaluation_seconds
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
