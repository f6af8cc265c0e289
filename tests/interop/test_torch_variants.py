"""The files that people have: wrapped, parametrized, of any type, a generator alone, and whole models."""

import json
import struct
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
from conftest import manifest_of
from faults import FAULTS
from test_torch_files import SMALL, _export, _import

import main
from sharingan_jax.config.load import load_config
from sharingan_jax.errors import listed
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.state import digest
from sharingan_jax.interop.torch_files import original_name, parametrized_name
from sharingan_jax.run.first_state import write_first_state
from sharingan_jax.run.manifest import Origin

torch = pytest.importorskip("torch", reason="reads files of torch; see requirements-dev.txt")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The initial state of the default system, two channels wide, as a run."""
    workdir = tmp_path_factory.mktemp("runs") / "small"
    settings = [word.removeprefix("--config.").split("=") for word in SMALL]
    config = load_config("default", [(key, value) for key, value in settings])
    gan = build_gan(config)
    state = jax.device_get(jax.jit(lambda: init_state(gan, seed=0))())
    write_first_state(workdir, config, state, Origin(0, digest(state), {}), status="imported")
    return workdir


@pytest.fixture(scope="module")
def tensors(run: Path) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = _export(run, run.parent / "networks.safetensors")
    return tensors


def _assert_imported(run: Path, tensors: dict[str, np.ndarray], *, rtol: float = 0.0) -> None:
    again = _export(run, run.parent / "again.safetensors")
    for name, array in tensors.items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_allclose(again[name], array, rtol=rtol, atol=1e-3 * (rtol > 0), err_msg=name)


@pytest.mark.parametrize("prefixes", [("module.{}", "{}"), ("_orig_mod.{}", "_orig_mod.module.{}"), ("gen.module.{}", "{}")])
def test_the_names_that_wrappers_add_are_ignored(
    prefixes: tuple[str, str], tensors: dict[str, np.ndarray], tmp_path: Path
) -> None:
    def wrap(name: str) -> str:
        net, _, rest = name.partition(".")
        prefix = prefixes[net == "dis"]
        return prefix.format(rest) if prefix.startswith("gen.") and net == "gen" else prefix.format(name)

    nets = {net: {n: torch.tensor(a) for n, a in tensors.items() if n.startswith(net)} for net in ("gen.", "dis.")}
    torch.save([{wrap(name): tensor for name, tensor in net.items()} for net in nets.values()], tmp_path / "BOTH.PTH")
    assert _import(tmp_path / "run", files=[tmp_path / "BOTH.PTH"]) == 0
    _assert_imported(tmp_path / "run", tensors)


def test_parametrized_spectral_norm_is_read_and_written(run: Path, tensors: dict[str, np.ndarray], tmp_path: Path) -> None:
    theirs = _export(run, tmp_path / "theirs.safetensors", "--names", "parametrizations")
    assert _import(tmp_path / "run", files=[tmp_path / "theirs.safetensors"]) == 0
    _assert_imported(tmp_path / "run", tensors)
    # PyTorch's own module takes the names and computes with the same kernel / sigma.
    conv = torch.nn.utils.parametrizations.spectral_norm(torch.nn.ConvTranspose2d(16, 8, 4, bias=False)).eval()
    part = {name.removeprefix("gen.3."): torch.tensor(a) for name, a in theirs.items() if name.startswith("gen.3.")}
    conv.load_state_dict(part, strict=True)
    kernel, u, v = (tensors[f"gen.3.weight_{name}"] for name in ("orig", "u", "v"))
    sigma = u @ kernel.transpose(1, 0, 2, 3).reshape(8, -1) @ v
    np.testing.assert_allclose(conv.weight.detach().numpy(), kernel / sigma, rtol=1e-5, atol=1e-7)
    for name in tensors:
        assert original_name(parametrized_name(name)) == name


def test_a_generator_alone_can_be_sampled(
    run: Path, tensors: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gen = {name.replace("gen.", "main."): torch.tensor(a) for name, a in tensors.items() if name.startswith("gen.")}
    torch.save(gen, tmp_path / "netG.pth")
    assert _import(tmp_path / "run", files=[tmp_path / "netG.pth"]) == 0
    assert (
        "the files hold a generator alone: it can be sampled, and D has the initial weights of seed 0" in capsys.readouterr().out
    )
    assert manifest_of(tmp_path / "run")["origin"]["missing"] == ["disc"]
    for workdir, name in ((run, "a.npy"), (tmp_path / "run", "b.npy")):
        assert main.main(["sample", "--workdir", str(workdir), "--out", str(tmp_path / name)]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("is_script", [False, True])
def test_a_whole_model_is_refused_without_torchs_advice(
    is_script: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 4))
    if is_script:
        torch.jit.trace(model, torch.zeros(1, 3, 8, 8)).save(tmp_path / "whole.pth")
    else:
        torch.save(model, tmp_path / "whole.pth")
    assert _import(tmp_path / "run", files=[tmp_path / "whole.pth"]) == 2
    error = capsys.readouterr().err
    assert FAULTS["whole-model"].is_shown_in(error)
    assert "weights_only=False" not in error
    assert "\x1b" not in error
    assert error.count("\n") == 1


def _safetensors(kind: str, arrays: dict[str, bytes], shapes: dict[str, list[int]]) -> bytes:
    header: dict[str, Any] = {}
    end = 0
    for name, content in arrays.items():
        header[name] = {"dtype": kind, "shape": shapes[name], "data_offsets": [end, end + len(content)]}
        end += len(content)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(arrays.values())


@pytest.mark.parametrize("kind", ["BF16", "F8_E5M2", "F16", "F64", "C64"])
def test_every_type_of_safetensors_is_read_or_refused_by_its_name(
    kind: str, tensors: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import ml_dtypes

    numpy_kinds = {"BF16": ml_dtypes.bfloat16, "F8_E5M2": ml_dtypes.float8_e5m2, "F16": np.float16, "F64": np.float64}
    weights = {name: array for name, array in tensors.items() if not name.endswith("num_batches_tracked")}
    content = {name: array.astype(numpy_kinds.get(kind, np.complex64)).tobytes() for name, array in weights.items()}
    path = tmp_path / "odd.safetensors"
    path.write_bytes(_safetensors(kind, content, {name: list(array.shape) for name, array in weights.items()}))
    if kind == "C64":
        assert _import(tmp_path / "run", files=[path]) == 2
        assert " of type C64. Save it as F32." in capsys.readouterr().err
    else:
        assert _import(tmp_path / "run", files=[path]) == 0
        _assert_imported(tmp_path / "run", weights, rtol={"BF16": 0.01, "F8_E5M2": 0.2, "F16": 1e-3, "F64": 1e-7}[kind])


def test_long_lists_of_names_are_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(["a", "b"]) == "a, b"
    arrays = {f"gen.{i}.weight": np.zeros(1, np.float32) for i in range(20_000)}
    safetensors.numpy.save_file(arrays, tmp_path / "many.safetensors")
    assert _import(tmp_path / "run", files=[tmp_path / "many.safetensors"]) == 2
    error = capsys.readouterr().err
    assert " and 19,9" in error
    assert len(error) < 3000
