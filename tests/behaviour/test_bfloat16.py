"""`model.dtype=bfloat16`: what is bfloat16 and what stays float32, how close its steps are to float32's, and whole runs."""

import re
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import manifest_of, metrics_of, smoke_config, train_arguments

import main
from sharingan_jax.config.load import load_config
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.trainer import Trainer, jit_steps
from sharingan_jax.errors import UserError
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.state import TrainState
from sharingan_jax.model.convolutions import convolutions
from sharingan_jax.run.load import load_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_quickly")]

BFLOAT16 = "--config.model.dtype=bfloat16"
# All batches and chunks of steps have one size: one program to compile.
EVEN = ["--config.data.last_batch=drop", "--config.train.steps_per_dispatch=2"]
BATCH = 16
REAL_U8 = np.random.default_rng(0).integers(0, 256, (1, BATCH, 32, 32, 3), np.uint8)
CASES = [("direct", 1), ("winograd", 1), ("direct", 8)]


@cache
def _trainer(dtype: str, conv_impl: str, devices: int) -> Trainer:
    return Trainer(smoke_config(model__dtype=dtype, model__conv_impl=conv_impl), make_mesh(devices, batch_sizes={BATCH}))


@cache
def _trained(dtype: str, conv_impl: str, devices: int) -> tuple[TrainState, dict[str, np.ndarray]]:
    trainer = _trainer(dtype, conv_impl, devices)
    return jax.device_get(trainer.run_steps(trainer.init(0), [REAL_U8]))


@cache
def _lowered(dtype: str, conv_impl: str) -> str:
    """Return the step's program as StableHLO, before a backend chooses how to compute it."""
    config = smoke_config(model__dtype=dtype, model__conv_impl=conv_impl)
    state = jax.eval_shape(partial(init_state, build_gan(config), seed=0))
    return (
        jit_steps(config, make_mesh(1, batch_sizes={BATCH})).lower(state, jax.ShapeDtypeStruct(REAL_U8.shape, np.uint8)).as_text()
    )


def _operands(program: str, operation: str) -> list[tuple[str, str]]:
    """Return the types of the two operands of each such operation: `("16x16x16x8xbf16", "4x4x8x16xbf16")`."""
    return re.findall(rf"stablehlo\.{operation}\b.*: \(tensor<(\S+)>, tensor<(\S+)>\) ->", program)


@pytest.mark.parametrize(("conv_impl", "devices"), CASES)
def test_the_state_the_metrics_and_the_samples_are_float32(conv_impl: str, devices: int) -> None:
    state, metrics = _trained("bfloat16", conv_impl, devices)
    plain, _ = _trained("float32", conv_impl, devices)
    jax.tree.map(lambda a, b: np.testing.assert_equal((a.dtype, a.shape), (b.dtype, b.shape)), state, plain)
    assert {array.dtype.name for array in jax.tree.leaves((state.gen, state.disc))} == {"float32", "int32"}  # Adam counts.
    assert {array.dtype.name for array in metrics.values()} == {"float32"}
    trainer = _trainer("bfloat16", conv_impl, devices)
    images = trainer.sample(trainer.replicate(state).gen, np.ones((3, 16), np.float32))
    assert images.dtype == np.float32


@pytest.mark.parametrize(("conv_impl", "devices"), CASES)
def test_the_first_step_equals_float32s_to_bfloat16_rounding(conv_impl: str, devices: int) -> None:
    """bfloat16 has 8 bits: each number is off by up to 0.2%. Metrics are means, whose errors largely cancel.

    Gradients are off by more, because units close to 0 change the side of their ReLU. In float32, weights that are off by 0.2%
    change G's gradients by 9% and D's by 4%. Measured here are 14% and 7%, and with Winograd's products, whose sums are rounded
    too, 20% and 10%. Adam's first step is 2e-4 long for every weight, whatever its gradient.
    """
    (state, metrics), (plain, metrics_plain) = _trained("bfloat16", conv_impl, devices), _trained("float32", conv_impl, devices)
    for name, values in metrics.items():
        np.testing.assert_allclose(values, metrics_plain[name], rtol=0.02, err_msg=name)
        assert values != metrics_plain[name], name
    for net in ("gen", "disc"):
        moved, moved_plain = (
            np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(getattr(trained, net).opt[-2].mu)])
            for trained in (state, plain)
        )
        assert np.linalg.norm(moved - moved_plain) < 0.25 * np.linalg.norm(moved_plain)
        weights, weights_plain = (getattr(trained, net).params for trained in (state, plain))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2 * 2.1e-4), weights, weights_plain)


def test_one_device_equals_eight_to_bfloat16_rounding() -> None:
    (_, one), (_, eight) = _trained("bfloat16", "direct", 1), _trained("bfloat16", "direct", 8)
    for name in one:
        np.testing.assert_allclose(one[name], eight[name], rtol=0.02, err_msg=name)


def test_all_convolutions_of_the_step_are_in_bfloat16() -> None:
    operands = _operands(_lowered("bfloat16", "direct"), "convolution")
    assert len(operands) == len(_operands(_lowered("float32", "direct"), "convolution")) > 0
    assert all(a.endswith("xbf16") and b.endswith("xbf16") for a, b in operands), operands


@pytest.mark.parametrize("conv_impl", ["direct", "winograd"])
def test_only_the_products_of_spectral_norm_and_of_the_logits_are_in_float32(conv_impl: str) -> None:
    products = _operands(_lowered("bfloat16", conv_impl), "dot_general")
    for a, b in products:
        if not (a.endswith("xbf16") and b.endswith("xbf16")):
            *shape_a, dtype_a = a.split("x")
            *shape_b, dtype_b = b.split("x")
            assert dtype_a == dtype_b == "f32"
            assert any(len(shape) < 2 or "1" in shape for shape in (shape_a, shape_b)), (a, b)  # A vector, possibly as a matrix.
    # Two of the latents' layer (forward, kernel's gradient). Winograd puts nine in place of each convolution.
    halves = [pair for pair in products if pair[0].endswith("bf16")]
    assert len(halves) == 2 + (conv_impl == "winograd") * 9 * len(_operands(_lowered("float32", "direct"), "convolution"))


@pytest.mark.parametrize("conv_impl", ["direct", "winograd"])
def test_a_float32_program_has_no_bfloat16(conv_impl: str) -> None:
    assert "bf16" not in _lowered("float32", conv_impl)


@pytest.mark.parametrize("name", ["down", "up", "project_down", "project_up"])
def test_products_of_bfloat16_are_summed_in_float32(name: str) -> None:
    """Only the result is rounded to bfloat16: the error is half a unit of its eighth bit, plus float32's own rounding."""
    rng, c = np.random.default_rng(0), 512
    side = {"down": 8, "up": 8, "project_down": 4, "project_up": 1}[name]
    # Whole numbers above 0: a sum in bfloat16 would stop growing long before its end.
    x, kernel = (jnp.asarray(rng.integers(1, 16, shape), jnp.bfloat16) for shape in ((2, side, side, c), (4, 4, c, 4)))
    convolve: Any = getattr(convolutions("direct"), name)
    half, whole = jax.jit(convolve)(x, kernel), jax.jit(convolve)(x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), whole, rtol=2.0**-8)


@pytest.fixture(scope="module")
def run(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps in bfloat16, stopped after the fourth and resumed."""
    workdir = tmp_path_factory.mktemp("runs") / "half"
    for steps in (4, 8):
        assert main.main(train_arguments(image_folder, workdir, *EVEN, BFLOAT16, f"--config.train.steps={steps}")) == 0
    return workdir


def test_a_run_in_bfloat16_resumes_to_the_same_bits(run: Path, image_folder: Path, tmp_path: Path) -> None:
    assert main.main(train_arguments(image_folder, tmp_path, *EVEN, BFLOAT16, "--config.train.steps=8")) == 0
    assert manifest_of(tmp_path)["digest"] == manifest_of(run)["digest"]
    assert metrics_of(tmp_path) == metrics_of(run)
    state = load_run(run).state()
    assert {np.asarray(leaf).dtype.name for leaf in jax.tree.leaves((state.gen, state.disc))} == {"float32", "int32"}


def test_the_exported_sampler_and_weights_are_float32(run: Path, tmp_path: Path) -> None:
    sampler, weights, direct, alone = (tmp_path / name for name in ("s.stablehlo", "w.safetensors", "d.npy", "a.npy"))
    assert main.main(["export", "--workdir", str(run), "--format", "stablehlo", "--out", str(sampler)]) == 0
    assert main.main(["export", "--workdir", str(run), "--format", "pytorch", "--out", str(weights)]) == 0
    assert main.main(["sample", "--workdir", str(run), "--num", "5", "--out", str(direct)]) == 0
    assert main.main(["sample", "--model", str(sampler), "--num", "5", "--out", str(alone)]) == 0
    images, images_alone = np.load(direct), np.load(alone)
    assert images.dtype == images_alone.dtype == np.float32
    # The float32 parts of two programs round differently, and now and then a bfloat16 value differs because of it.
    np.testing.assert_allclose(images, images_alone, atol=0.02)
    from safetensors.numpy import load_file

    assert {array.dtype.name for array in load_file(weights).values()} <= {"float32", "int64"}


def test_another_dtype_is_another_run(run: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(train_arguments(image_folder, run, *EVEN, "--config.train.steps=9")) == 2
    assert "model.dtype was 'bfloat16' and is now 'float32'" in capsys.readouterr().err


@pytest.mark.parametrize(("wrong", "nearest"), [("bfloat", "bfloat16"), ("float23", "float32"), ("bf16", "bfloat16")])
def test_an_unknown_dtype_is_refused_with_the_nearest(wrong: str, nearest: str) -> None:
    config = Path(__file__).parents[2] / "configs" / "default.py"
    with pytest.raises(UserError, match=rf"model\.dtype='{wrong}': expected one of float32, bfloat16\. Did you mean {nearest}\?"):
        load_config(config, [("model.dtype", wrong)])
