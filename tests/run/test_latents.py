"""Latents: truncated as scipy truncates, on great circles, and between four corners."""

import numpy as np
import pytest
from scipy import stats

from sharingan_jax.errors import UserError
from sharingan_jax.run.latents import between, draw_run_latents, great_circle, interpolate, truncate, walk, with_classes
from sharingan_jax.run.sampling import Sampler

NZ = 100


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("bound", [0.3, 1.0, 2.5])
def test_truncated_numbers_are_at_the_same_quantile_of_scipys_truncated_normal(bound: float) -> None:
    z = _normal(200)
    expected = stats.truncnorm.ppf(stats.norm.cdf(z.astype(np.float64)), -bound, bound)
    np.testing.assert_allclose(truncate(z, bound), expected, atol=1e-6)


def test_truncated_draws_have_the_distribution_of_drawing_again_until_inside() -> None:
    drawn = _normal(40_000).astype(np.float64)
    again = drawn[np.abs(drawn) <= 1.0]
    found = stats.ks_2samp(truncate(np.random.default_rng(1).standard_normal(20_000), 1.0), again)
    assert found.pvalue > 0.01
    np.testing.assert_allclose(again.std(), 0.540, atol=0.01)  # sqrt(1 − 2 φ(1) / (2 Φ(1) − 1))


def test_truncation_keeps_the_order_and_signs_and_fades_out_at_the_widest_bound() -> None:
    z = np.sort(_normal(1000))
    narrow = truncate(z, 0.5)
    assert (np.diff(narrow) >= 0).all()
    assert (np.sign(narrow) == np.sign(z)).all()
    assert np.abs(narrow).max() <= 0.5
    np.testing.assert_allclose(truncate(z, 5.0), z, atol=2e-3)
    extreme = np.array([-40.0, 0.0, 40.0], np.float32)
    np.testing.assert_array_equal(truncate(extreme, 2.0), np.array([-2, 0, 2], np.float32))


def test_a_latent_depends_on_the_seed_and_its_index_alone() -> None:
    few, many = (draw_run_latents(7, count=count, nz=NZ, truncation=1.5) for count in (3, 600))
    np.testing.assert_array_equal(few, many[:3])
    np.testing.assert_array_equal(few, truncate(draw_run_latents(7, count=3, nz=NZ), 1.5))
    assert few.dtype == np.float32
    assert not np.array_equal(few, draw_run_latents(8, count=3, nz=NZ, truncation=1.5))


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (0.0, "truncation=0: expected a number above 0, at most 5. Use 0.5."),
        (-1.0, "truncation=-1: expected a number above 0, at most 5. Use 0.5."),
        (7.0, "truncation=7: expected a number above 0, at most 5. Use 5, which changes almost nothing, or leave it out."),
        (float("nan"), "truncation=nan: expected finite."),
    ],
)
def test_a_bound_out_of_range_is_refused(bound: float, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        truncate(_normal(3), bound)
    assert str(refusal.value).startswith(message)


def test_a_great_circle_keeps_the_length_and_divides_the_angle() -> None:
    a, b = np.array([3.0, 0.0]), np.array([0.0, 3.0])
    for t in (0.0, 0.25, 1.0):
        expected = 3 * np.array([np.cos(t * np.pi / 2), np.sin(t * np.pi / 2)])
        np.testing.assert_allclose(great_circle(a, b, t), expected, atol=1e-12)
    np.testing.assert_allclose(great_circle(a, -a, 0.5), [0, 0])  # No circle is determined: the line.
    np.testing.assert_allclose(great_circle(a, a, 0.3), a)


def test_a_walk_passes_through_its_latents_and_returns_to_the_first() -> None:
    z = _normal(3, NZ)
    path = walk(z, frames=4)
    assert path.shape == (12, NZ)
    np.testing.assert_allclose(path[::4], z, atol=1e-6)
    np.testing.assert_allclose(path[9], great_circle(z[2], z[0], 0.25), atol=1e-6)


def test_a_grid_of_latents_has_its_corners_circles_at_its_sides_and_its_middle() -> None:
    corners = _normal(4, NZ)
    grid = between(corners, rows=3, columns=5)
    assert (grid.shape, grid.dtype) == ((15, NZ), np.float32)
    grid = grid.reshape(3, 5, NZ)
    np.testing.assert_allclose(grid[[0, 0, 2, 2], [0, 4, 0, 4]], corners, atol=1e-6)
    np.testing.assert_allclose(grid[0, 1], great_circle(corners[0], corners[1], 0.25), atol=1e-6)
    left, right = great_circle(corners[0], corners[2], 0.5), great_circle(corners[1], corners[3], 0.5)
    np.testing.assert_allclose(grid[1, 2], great_circle(left, right, 0.5), atol=1e-6)
    lengths = np.linalg.norm(corners, axis=1)
    assert (np.linalg.norm(grid, axis=2) > 0.8 * lengths.min()).all()  # A straight line's middle has 0.5 of it here.
    assert np.linalg.norm(corners.mean(0)) < 0.6 * lengths.min()


def test_between_two_classes_lie_their_shares() -> None:
    a, b = np.array([1.0, 0.0, 1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0, 0.0, 1.0])
    point = interpolate(a, b, 0.25, classes=3)
    np.testing.assert_allclose(point[:2], great_circle(a[:2], b[:2], 0.25))
    np.testing.assert_allclose(point[2:], [0.75, 0.0, 0.25])
    np.testing.assert_allclose(interpolate(a, b, 0.25), great_circle(a, b, 0.25))


def test_latents_have_the_classes_in_turn_or_those_given() -> None:
    z = np.zeros((4, 2), np.float32)
    assert with_classes(z, classes=0) is z
    np.testing.assert_array_equal(with_classes(z, classes=3)[:, 2:].argmax(1), [0, 1, 2, 0])
    given = with_classes(z, classes=3, labels=np.array([2, 2, 0, 1]))
    np.testing.assert_array_equal(given[:, 2:], np.eye(3)[[2, 2, 0, 1]])
    assert given.dtype == np.float32


def test_a_class_is_known_by_its_number_and_by_its_name_which_may_be_another_number() -> None:
    sampler = Sampler("step 3", 8, lambda z: z, (32, 32, 3), classes=3, class_names=("1", "10", "2"))
    assert [sampler.label_of(number) for number in (0, 1, 2)] == [0, 1, 2]
    assert [sampler.label_of(name) for name in ("1", "10", "2", "0")] == [0, 1, 2, 0]
    with pytest.raises(UserError, match=r"^label=3: expected 0 to 2, or 1, 10, 2\.$"):
        sampler.label_of("3")
    with pytest.raises(UserError, match=r"^label=a: expected a generator of classes, got one without \(step 3\)"):
        Sampler("step 3", 8, lambda z: z, (32, 32, 3)).label_of("a")
