"""FID's InceptionV3 against pytorch-fid's own class, with the same random weights, and the errors for unusable weights."""

import hashlib
import http.client
import io
import pickle
import sys
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from sharingan_jax.errors import UserError
from sharingan_jax.evaluation import inception
from sharingan_jax.evaluation.inception import DIMENSIONS, SIZE, Weights, expected_shapes, inception_features, load_weights

TOLERANCE = 1e-4  # Relative, as the issue asks. Both sum thousands of float32 products, in different orders.


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    """A random state dict in PyTorch's layout. He's kernels and statistics near (0, 1) keep the activations of order 1."""
    rng = np.random.default_rng(0)
    state = {}
    for name, shape in expected_shapes().items():
        if name.endswith("conv.weight"):
            h, w, c_in, c_out = shape
            state[name] = rng.normal(0, np.sqrt(2 / (h * w * c_in)), (c_out, c_in, h, w))
        elif name.endswith(("bn.weight", "running_var")):
            state[name] = rng.uniform(0.5, 1.5, shape)
        else:
            state[name] = rng.normal(0, 0.2, shape)
    state |= {"fc.weight": rng.normal(0, 0.1, (1008, 2048)), "fc.bias": rng.normal(0, 0.1, 1008)}
    return {name: array.astype(np.float32) for name, array in state.items()}


@pytest.fixture(scope="module")
def safetensors_file(tensors: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    safetensors.numpy.save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def weights(safetensors_file: Path) -> Weights:
    return load_weights(safetensors_file)


def _images(side: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(side).integers(0, 256, (3, side, side, channels), np.uint8)


def _import_pytorch_fid() -> Any:
    """Return `pytorch_fid.inception`, or skip the test."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    try:
        pytest.importorskip("torchvision", reason="torchvision is not installed")
    except RuntimeError:  # It was built for another torch, and so lacks its operators. Inception uses none of them.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.library, "register_fake", lambda _: lambda function: function)
            pytest.importorskip("torchvision")
    return pytest.importorskip("pytorch_fid.inception", reason="pytorch-fid is not installed")


@pytest.fixture(scope="module")
def pytorch_fid_features(tensors: dict[str, np.ndarray]) -> Callable[[int], list[np.ndarray]]:
    """A function of `side`: the features of `_images(side)` at all four blocks, by pytorch-fid's own class."""
    theirs = _import_pytorch_fid()
    import torch

    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: state)
        model = theirs.InceptionV3([0, 1, 2, 3]).eval()

    @cache
    def features(side: int) -> list[np.ndarray]:
        x = torch.from_numpy(_images(side)).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            return [torch.nn.functional.adaptive_avg_pool2d(y, (1, 1))[:, :, 0, 0].numpy() for y in model(x)]

    return features


@pytest.mark.slow  # Importing torchvision and pytorch-fid alone takes a quarter of a minute.
@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("block", [0, 1, 2, 3])
def test_the_features_of_each_block_equal_pytorch_fids(
    block: int, side: int, weights: Weights, pytorch_fid_features: Callable[[int], list[np.ndarray]]
) -> None:
    expected = pytorch_fid_features(side)[block]
    assert 0.5 < np.sqrt(np.mean(np.square(expected))) < 20  # The comparison would be empty with activations that vanish.
    actual = inception_features(_images(side), weights, block=block)
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape == (3, DIMENSIONS[block])
    errors = np.linalg.norm(actual - expected, axis=1) / np.linalg.norm(expected, axis=1)  # [N]
    assert errors.max() < TOLERANCE
    assert np.abs(actual - expected).max() < TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("shape", [(2, 20, 45, 3), (2, 299, 299, 3), (1, 450, 700, 3)])
def test_images_are_resized_as_torchs_interpolate_resizes_them(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    expected = 2 * torch.nn.functional.interpolate(x, (299, 299), mode="bilinear", align_corners=False) - 1
    # Two float32 formulas for a position of up to 700 differ by 1e-4 pixels; neighbours differ by up to 2.
    np.testing.assert_allclose(inception._resize(images), expected.permute(0, 2, 3, 1), rtol=0, atol=2e-4)


def test_a_grey_image_equals_three_equal_channels_bitwise(weights: Weights) -> None:
    grey = _images(32, channels=1)
    actual = inception_features(grey, weights, block=0)
    assert actual.tobytes() == inception_features(np.repeat(grey, 3, axis=-1), weights, block=0).tobytes()


def test_the_last_batch_is_padded_and_its_features_are_those_of_its_images(weights: Weights) -> None:
    images = _images(32)
    actual = inception_features(images, weights, block=0, batch=2)
    # Programs for batches of 2 and 3 may round differently.
    np.testing.assert_allclose(actual, inception_features(images, weights, block=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "block"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), 3), (np.zeros((8, 8, 3), np.uint8), 3), (np.zeros((2, 8, 8, 4), np.uint8), 3),
        (np.zeros((0, 8, 8, 3), np.uint8), 3), (np.zeros((2, 8, 8, 3), np.uint8), 4),
    ],
)  # fmt: skip
def test_other_images_and_blocks_are_refused(images: np.ndarray, block: int) -> None:
    with pytest.raises(UserError, match=r"^(images|block=4): expected "):
        inception_features(images, {}, block=block)


def _one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text


def _published(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Let `content` be what is published."""
    monkeypatch.setattr(inception, "SIZE", len(content))
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(content).hexdigest())


def _saved(value: Any, *, legacy: bool = True) -> bytes:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def pth(tensors: dict[str, np.ndarray]) -> bytes:
    """The state dict in the published file's format, with a counter, a Parameter and a transposed tensor among its tensors."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    state = OrderedDict((name, torch.from_numpy(array)) for name, array in tensors.items())
    first, second, *_ = state
    state[first] = state[first].permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    state[second] = torch.nn.Parameter(state[second])
    state["Conv2d_1a_3x3.bn.num_batches_tracked"] = torch.tensor(0)
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    return _saved(state)


def test_the_published_size_is_that_of_this_format(pth: bytes) -> None:
    assert abs(SIZE - len(pth)) < 20_000  # Modules' versions and longer keys. PyTorch 1.6's format takes 60 kB more than `SIZE`.


def test_a_pth_file_is_read_without_torch_and_equals_the_safetensors_file(
    pth: bytes, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _published(monkeypatch, pth)
    path = tmp_path / "inception.PTH"
    path.write_bytes(pth)
    monkeypatch.setitem(sys.modules, "torch", None)
    loaded = load_weights(path)
    assert loaded.keys() == weights.keys() == expected_shapes().keys()
    assert all(np.array_equal(loaded[name], weights[name]) for name in weights)


def test_code_in_a_pth_file_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Code:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    path = tmp_path / "inception.pth"
    for content in (_saved({"a": Code()}), pickle.dumps(Code()), _saved({}, legacy=False), b"", b"text"):
        path.write_bytes(content)
        _published(monkeypatch, content)
        with pytest.raises(UserError, match=r"expected a state dict as PyTorch saved it before 1\.6") as error:
            load_weights(path)
        assert _one_line(error).endswith("Save the state dict as .safetensors, and give that file.")
    assert not (tmp_path / "executed").exists()


def test_unusable_files_are_refused_in_one_line(
    tensors: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(name: str, content: bytes | None = None) -> str:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as error:
            load_weights(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
        assert "Download https://" in str(error.value)
        return _one_line(error)

    monkeypatch.setattr(inception, "SIZE", 100)
    assert "not FID's Inception weights: expected 100 bytes, got 60. " in refusal("a.pth", bytes(60))
    assert "not FID's Inception weights: expected SHA-256 6726825d0af5…, got " in refusal("a.pth", bytes(100))
    for name in ("missing.pth", "missing.safetensors"):
        assert "expected FID's Inception weights, found none" in refusal(name)
    assert "expected a .pth or .safetensors file, got .onnx" in refusal("a.onnx", b"")
    assert "not readable: " in refusal("a.safetensors", safetensors.numpy.save(tensors)[:-1000])
    few = {name: array for name, array in tensors.items() if name.startswith("Conv2d")}
    assert "expected Mixed_5b.branch1x1.conv.weight [1, 1, 192, 64]" in refusal("a.safetensors", safetensors.numpy.save(few))
    few["Conv2d_1a_3x3.bn.bias"] = np.zeros(31, np.float32)
    assert "expected Conv2d_1a_3x3.bn.bias [32]" in refusal("a.safetensors", safetensors.numpy.save(few))
    few["fc.bias"] = np.zeros(1000, np.float32)
    assert "got a network with 1000 classes" in refusal("a.safetensors", safetensors.numpy.save(few))


def test_weights_are_downloaded_once_and_again_if_the_kept_file_is_damaged(
    pth: bytes, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = tmp_path / "inception.pth", tmp_path / "cache" / "sharingan_jax"
    source.write_bytes(pth)
    _published(monkeypatch, pth)
    monkeypatch.setattr(inception, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(inception, "URL", source.as_uri())
    assert np.array_equal(load_weights()["Mixed_7c.branch_pool.bn.bias"], weights["Mixed_7c.branch_pool.bn.bias"])
    assert [path.name for path in folder.iterdir()] == ["inception.pth"]
    source.rename(tmp_path / "gone.pth")
    load_weights()
    (folder / "inception.pth").write_bytes(pth[:-1])
    with pytest.raises(UserError, match="could not be downloaded"):
        load_weights()
    (tmp_path / "gone.pth").rename(source)
    load_weights()
    assert (folder / "inception.pth").read_bytes() == pth


class _Broken(io.BytesIO):
    def read(self, _: int | None = None) -> bytes:
        raise http.client.IncompleteRead(b"", 5)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (urllib.error.URLError("no such host"), "<urlopen error no such host>"), (TimeoutError("timed out"), "timed out"),
        (io.BytesIO(bytes(60)), "expected 100 bytes, got 60"), (io.BytesIO(bytes(200)), "expected 100 bytes, got more"),
        (io.BytesIO(bytes(100)), "expected SHA-256 6726825d0af5…, got "), (_Broken(), "IncompleteRead"),
    ],
)  # fmt: skip
def test_a_failed_download_is_one_line_and_leaves_nothing(
    answer: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def urlopen(*_: Any, **__: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(inception, "SIZE", 100)
    monkeypatch.setattr(inception, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(UserError) as error:
        load_weights()
    kept = tmp_path / "sharingan_jax" / "pt_inception-2015-12-05-6726825d.pth"
    assert f"FID's Inception weights could not be downloaded: {reason}" in _one_line(error)
    assert _one_line(error).endswith(f"Download it by other means, and save it as {kept}")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
