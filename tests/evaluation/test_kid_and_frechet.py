"""KID and the Fréchet distance against torch-fidelity, pytorch-fid, scipy and plain loops."""

import importlib.util
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from scipy.linalg import sqrtm

from sharingan_jax.evaluation.measures import kid as kid_module
from sharingan_jax.evaluation.measures.frechet import frechet_distance
from sharingan_jax.evaluation.measures.kid import kid, mean_kernel

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(60, 24)) + 0.3
FAKE = RNG.normal(size=(60, 24)) * 1.2


def _oracle(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of pytorch-fid or torch-fidelity with a stand-in for torchvision, and leave no trace of it.

    Their formulas do not need torchvision, but their packages import it, and its CUDA build does not load next to a CPU torch.
    """
    pytest.importorskip("torch")
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    kept = {key: module for key, module in sys.modules.items() if key.partition(".")[0] in (package, "torchvision")}
    for key in kept:
        monkeypatch.delitem(sys.modules, key)
    for key in ("", ".transforms", ".transforms.functional", ".models", ".datasets"):
        stand_in: types.ModuleType = MagicMock(name=f"torchvision{key}", __path__=[], __spec__=None)
        monkeypatch.setitem(sys.modules, f"torchvision{key}", stand_in)
    try:
        return importlib.import_module(name)
    finally:
        for key in [key for key in sys.modules if key.partition(".")[0] == package]:
            del sys.modules[key]
        sys.modules.update({key: module for key, module in kept.items() if key.partition(".")[0] == package})


def _kernel(x: np.ndarray, y: np.ndarray) -> float:
    return float((np.dot(x, y) / len(x) + 1) ** 3)


def test_kid_equals_torch_fidelitys_kernel_over_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    metric_kid = _oracle("torch_fidelity.metric_kid", monkeypatch)
    options = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1.0}
    expected = 1e3 * metric_kid.kernel_mmd(REAL, FAKE, **options)
    np.testing.assert_allclose(kid(REAL, FAKE).value, expected, rtol=1e-9)


def test_kid_equals_loops_over_pairs_at_unequal_counts() -> None:
    real, fake = REAL[:7], FAKE[:11]
    within = np.mean([_kernel(a, b) for i, a in enumerate(real) for j, b in enumerate(real) if i != j])
    fakes = np.mean([_kernel(a, b) for i, a in enumerate(fake) for j, b in enumerate(fake) if i != j])
    across = np.mean([_kernel(a, b) for a in real for b in fake])
    np.testing.assert_allclose(kid(real, fake).value, 1e3 * (within + fakes - 2 * across), rtol=1e-9)
    np.testing.assert_allclose(mean_kernel(fake), fakes, rtol=1e-12)


def test_the_standard_error_of_kid_is_the_jackknife_over_the_real_images() -> None:
    left = np.array([kid(np.delete(REAL, i, axis=0), FAKE).value for i in range(len(REAL))])
    expected = np.sqrt((len(REAL) - 1) * np.mean(np.square(left - left.mean())))
    np.testing.assert_allclose(kid(REAL, FAKE).standard_error, expected, rtol=1e-6)


def test_the_standard_error_of_kid_is_its_spread_over_sets_of_real_images() -> None:
    rng = np.random.default_rng(1)
    results = [kid(rng.normal(size=(50, 24)), FAKE) for _ in range(300)]
    ratio = np.mean([result.standard_error for result in results]) / np.std([result.value for result in results])
    assert 0.95 < ratio < 1.3  # The jackknife errs upwards (Efron & Stein 1981).


def test_kid_is_zero_on_average_if_both_sets_come_from_one_distribution() -> None:
    rng = np.random.default_rng(2)
    values = [kid(rng.normal(size=(20, 8)), rng.normal(size=(40, 8))).value for _ in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(300)
    assert min(values) < 0 < max(values)


def test_kid_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = kid(REAL, FAKE)
    monkeypatch.setattr(kid_module, "BLOCK", 7)
    in_blocks = kid(REAL, FAKE)
    np.testing.assert_allclose(in_blocks.value, whole.value, rtol=1e-9)
    np.testing.assert_allclose(in_blocks.standard_error, whole.standard_error, rtol=1e-9)


def test_a_given_mean_kernel_of_the_fakes_changes_nothing() -> None:
    assert kid(REAL, FAKE, fake_kernel=mean_kernel(FAKE)) == kid(REAL, FAKE)


def test_kid_is_finite_for_copies_and_for_equal_fakes() -> None:
    copies, collapsed = kid(REAL, REAL), kid(REAL, np.repeat(FAKE[:1], 30, axis=0))
    assert copies.value < kid(REAL, FAKE).value < collapsed.value
    assert np.isfinite([copies.standard_error, collapsed.standard_error]).all()


@pytest.mark.parametrize("counts", [(60, 60), (60, 24), (24, 60), (25, 400)])
def test_the_frechet_distance_equals_scipys_matrix_square_root(counts: tuple[int, int]) -> None:
    real, fake = REAL[: counts[0]], np.random.default_rng(3).normal(size=(counts[1], 24)) * 1.2
    covariances = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = np.trace(sqrtm(covariances[0] @ covariances[1]).real)
    expected = np.square(real.mean(0) - fake.mean(0)).sum() + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * root
    np.testing.assert_allclose(frechet_distance(real, fake), expected, rtol=1e-6)


def test_the_frechet_distance_equals_pytorch_fids(monkeypatch: pytest.MonkeyPatch) -> None:
    fid_score = _oracle("pytorch_fid.fid_score", monkeypatch)
    statistics = [value for x in (REAL, FAKE) for value in (x.mean(axis=0), np.cov(x, rowvar=False))]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The `disp` argument", DeprecationWarning)  # pytorch-fid's call of scipy's sqrtm
        expected = fid_score.calculate_frechet_distance(*statistics)
    np.testing.assert_allclose(frechet_distance(REAL, FAKE), expected, rtol=1e-6)


def test_the_frechet_distance_is_exact_if_the_covariances_are_singular() -> None:
    rng = np.random.default_rng(4)
    real, fake = rng.normal(size=(10, 50)), rng.normal(size=(15, 50)) * 2
    s1, s2 = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    values, vectors = np.linalg.eigh(s1)
    half = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    root = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ s2 @ half), 0)).sum()  # tr (S1^½ S2 S1^½)^½ = tr (S1 S2)^½
    expected = np.square(real.mean(0) - fake.mean(0)).sum() + np.trace(s1) + np.trace(s2) - 2 * root
    np.testing.assert_allclose(frechet_distance(real, fake), expected, rtol=1e-6)


def test_the_frechet_distance_of_copies_is_zero_and_a_shift_adds_its_square() -> None:
    scale = np.square(REAL).sum()
    assert frechet_distance(REAL, REAL) < 1e-12 * scale
    np.testing.assert_allclose(frechet_distance(REAL, REAL + 2.0), 4.0 * 24, rtol=1e-9)


@pytest.mark.parametrize("measure", [kid, frechet_distance])
def test_features_that_do_not_fit_are_refused(measure: Callable[[np.ndarray, np.ndarray], object]) -> None:
    with pytest.raises(ValueError, match=r"fake: expected features of length 24, as the real ones, got 5"):
        measure(REAL, FAKE[:, :5])
    with pytest.raises(ValueError, match=r"real: expected numbers \[N, D\], got float64 \[24\]"):
        measure(REAL[0], FAKE)
    with pytest.raises(ValueError, match=r"real: expected features of at least . images, got 1"):
        measure(REAL[:1], FAKE)
    with pytest.raises(ValueError, match="fake: expected finite features"):
        measure(REAL, np.where(FAKE.max() == FAKE, np.nan, FAKE))
