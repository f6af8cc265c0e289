"""The symmetries of G: exact, all of them, and chosen by signs alone."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config

from sharingan_jax.config.schema import RULES, Config
from sharingan_jax.errors import UserError
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.model.architectures import ARCHITECTURES
from sharingan_jax.model.symmetry import SYMMETRIES, fold, symmetry_of, unfold

EIGHT = [np.rot90(np.arange(9).reshape(3, 3), turns)[:, ::mirrored] for turns in range(4) for mirrored in (1, -1)]


def _choices(symmetry: str) -> np.ndarray:
    """Return latents [2^signs, 5] with all choices of the first signs, and otherwise alike."""
    signs = len(SYMMETRIES[symmetry])
    z = np.abs(np.random.default_rng(0).standard_normal(5)).astype(np.float32)
    chosen = np.array(list(product((-1, 1), repeat=signs)), np.float32).reshape(2**signs, signs)
    return np.concatenate([chosen * z[:signs], np.tile(z[signs:], (len(chosen), 1))], 1)


@pytest.mark.parametrize(
    ("symmetry", "expected"), [("none", EIGHT[:1]), ("mirror", EIGHT[:2]), ("turn", EIGHT[::2]), ("square", EIGHT)]
)
def test_signs_choose_every_way_once(symmetry: str, expected: list[np.ndarray]) -> None:
    z = _choices(symmetry)
    images = np.tile(np.arange(9.0).reshape(1, 3, 3, 1), (len(z), 1, 1, 1))
    made = np.asarray(unfold(jnp.asarray(images), jnp.asarray(z), symmetry))[..., 0]
    assert sorted(map(tuple, made.reshape(len(z), 9))) == sorted(tuple(way.ravel()) for way in expected)


def test_fold_keeps_the_sizes_and_the_other_signs() -> None:
    z = jnp.asarray([[-1.0, 2.0, -3.0, -4.0]])
    np.testing.assert_array_equal(fold(z, "square"), [[1, 2, 3, -4]])
    np.testing.assert_array_equal(fold(z, "mirror"), [[1, 2, -3, -4]])
    assert fold(z, "none") is z


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_generator_makes_one_image_in_eight_ways(arch: str) -> None:
    # Dropout is chosen by the latents: by what the signs leave of them, or the eight would differ.
    config = _config(model__gen__arch=arch, model__dropout="0.5", model__gen__norm="pixel")
    gan = build_gan(config)
    state = init_state(gan, seed=0)
    z = _choices("square")
    images, _ = jax.jit(lambda z: gan.gen.apply(state.gen.params, state.gen.buffers, z, mode="running"))(z)
    images = np.asarray(images)
    for image, way in zip(images, _ways(images[0]), strict=True):
        np.testing.assert_array_equal(image, way)
    assert len({image.tobytes() for image in images}) == 8


def _ways(image: np.ndarray) -> list[np.ndarray]:
    """Return the changes of an image [H, W, C] in the order of `_choices`."""
    ways = []
    for across, down, transposed in product((False, True), repeat=3):
        way = image[:, ::-1] if across else image
        way = way[::-1] if down else way
        ways.append(way.swapaxes(0, 1) if transposed else way)
    return ways


def _config(**changes: str) -> Config:
    return smoke_config(**{"model__symmetry": "square", "model__nz": "5", **changes})


def test_no_gather_and_no_scatter_is_in_the_program() -> None:
    z, images = jnp.ones((2, 5)), jnp.ones((2, 8, 8, 3))
    text = jax.jit(jax.grad(lambda x: jnp.sum(jnp.square(unfold(x, z, "square"))))).lower(images).as_text()
    assert not [name for name in ("scatter", "gather") if f"stablehlo.{name}" in text]


def test_the_choices_of_the_setting_are_the_entries_of_the_table() -> None:
    assert RULES["model.symmetry"].choices == (*SYMMETRIES, "auto")


@pytest.mark.parametrize(
    ("turns", "mirrors", "expected"),
    [("1", "no", "none"), ("1", "yes", "mirror"), ("6", "yes", "mirror"), ("24", "no", "turn"), ("4", "yes", "square")],
)
def test_auto_takes_the_symmetry_that_the_data_have(turns: str, mirrors: str, expected: str) -> None:
    config = _config(model__symmetry="auto", data__turns=turns, data__mirrors=mirrors)
    assert symmetry_of(config) == expected
    assert symmetry_of(_config(model__symmetry="mirror", data__turns=turns, data__mirrors=mirrors)) == "mirror"


def test_too_few_latents_for_the_signs_are_refused() -> None:
    assert _config(model__nz="3").model.nz == 3
    with pytest.raises(UserError, match=r"model\.nz=2: expected at least 3 with model.symmetry=square"):
        _config(model__nz="2")
