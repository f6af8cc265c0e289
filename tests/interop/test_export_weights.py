"""`export` and `sample` with raw and with averaged weights of a run that keeps both."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from conftest import smoke_config
from initial_runs import write_initial_run
from PIL import Image

import main
from sharingan_jax.errors import UserError
from sharingan_jax.interop.export import export
from sharingan_jax.interop.stablehlo import load_sampler
from sharingan_jax.interop.tensor_table import gen_table
from sharingan_jax.run.load import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose averaged weights are 1.5 times its raw ones."""
    return write_initial_run(tmp_path_factory.mktemp("runs") / "run", train__ema_half_life="1000")


def test_exported_tensors_are_averaged_by_default_and_raw_if_asked_for(run: Path, tmp_path: Path) -> None:
    said = {}
    for weights in (None, "averaged", "raw"):
        said[weights] = export(run, tmp_path / f"{weights}.safetensors", format="pytorch", weights=weights).summary
    tensors = {weights: safetensors.numpy.load_file(tmp_path / f"{weights}.safetensors") for weights in said}
    assert all(np.array_equal(tensors[None][name], tensors["averaged"][name]) for name in tensors["raw"])
    scaled = [name for name in tensors["raw"] if not np.array_equal(tensors["raw"][name], tensors["averaged"][name])]
    assert scaled
    assert all(name.startswith("gen.") for name in scaled)
    for name in scaled:
        np.testing.assert_array_equal(tensors["averaged"][name], np.float32(1.5) * tensors["raw"][name])
    assert "of step 0, averaged weights, in " in said["averaged"]
    assert "of step 0 in " in said["raw"]


@pytest.mark.slow
def test_an_exported_sampler_has_the_weights_that_were_asked_for(run: Path, tmp_path: Path) -> None:
    z = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    loaded = load_run(run)
    for weights in ("raw", "averaged"):
        out = tmp_path / f"{weights}.stablehlo"
        export(run, out, format="stablehlo", statistics="running", weights=weights)
        expected = loaded.sampler(statistics="running", weights=weights).draw(z)
        np.testing.assert_allclose(
            load_sampler(out).draw(z), expected, atol=2e-3
        )  # Running statistics of no step: activations are large.
    generate = loaded.generator(statistics="running", weights="raw")
    assert np.abs(generate(z) - expected).max() > 1e-3


def test_weights_that_a_run_or_a_format_does_not_have_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^weights: goes with format=pytorch or stablehlo, not with trace"):
        export(run, tmp_path / "x.npz", format="trace", weights="raw")
    plain = write_initial_run(tmp_path / "plain")
    with pytest.raises(UserError, match=r"keeps no averaged weights\. Set train\.ema_half_life=10000 in a new run"):
        export(plain, tmp_path / "x.safetensors", format="pytorch", weights="averaged")


@pytest.mark.slow
def test_both_weights_stand_side_by_side_as_each_is_drawn_alone(run: Path, tmp_path: Path) -> None:
    for weights in ("raw", "averaged", "both"):
        out = ["--weights", weights, "--scale", "4", "--out", str(tmp_path / f"{weights}.png")]
        assert main.main(["sample", "--workdir", str(run), "--num", "9", *out]) == 0
    raw, averaged, both = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("raw", "averaged", "both"))
    np.testing.assert_array_equal(both[40:, : raw.shape[1]], raw)
    np.testing.assert_array_equal(both[40:, -raw.shape[1] :], averaged)
    assert (raw != averaged).any()
    assert main.main(["sample", "--workdir", str(run), "--num", "2", "--weights", "both", "--out", str(tmp_path / "w.gif")]) == 0
    with Image.open(tmp_path / "w.gif") as gif:
        assert gif.size == (2 * 256 + 8, 256 + 40)


def test_a_truncated_sample_of_a_run_is_drawn_from_truncated_latents(run: Path) -> None:
    loaded = load_run(run)
    plain, narrow = (loaded.sample(4, statistics="running", weights="raw", truncation=bound) for bound in (None, 0.2))
    assert narrow.std(axis=0).mean() < plain.std(axis=0).mean()


def test_a_symmetric_generator_has_no_names_in_pytorch() -> None:
    none = smoke_config(model__symmetry="auto")
    assert [row.name for row in gen_table(none)] == [row.name for row in gen_table(smoke_config())]
    with pytest.raises(UserError, match=r"model\.symmetry=mirror: expected none for PyTorch's names"):
        gen_table(smoke_config(model__symmetry="auto", data__mirrors="yes"))


def test_the_sampler_of_a_symmetric_run_knows_its_signs(tmp_path: Path) -> None:
    workdir = write_initial_run(tmp_path / "run", model__symmetry="auto", data__mirrors="yes")
    assert load_run(workdir).sampler().signs == 1
