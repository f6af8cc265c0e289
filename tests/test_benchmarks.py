"""The benchmarks' count of operations agrees with XLA's, and the parts of the input benchmark do what its table says."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import smoke_config

from benchmarks.convolutions_3x3 import IMPLEMENTATIONS, PASSES, passes_of
from benchmarks.flops import step_operations
from benchmarks.input import decode, decode_alone, make_files, memory_of, print_rates, take_turns, warm_ways
from sharingan_jax.data.dataset import MappedDataset
from sharingan_jax.data.sources.load import load_dataset
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.trainer import jit_steps
from sharingan_jax.gan.gan import build_gan, init_state


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (64, 1)])
def test_the_counted_operations_are_nearly_all_that_xla_counts(size: int, channels: int) -> None:
    changes = {"data__size": str(size), "data__channels": str(channels), "model__gen__width": "64", "model__disc__width": "48"}
    config = smoke_config(model__conv_impl="direct", **changes)
    gan = build_gan(config)
    state = jax.eval_shape(partial(init_state, gan, seed=0))
    real_u8 = jax.ShapeDtypeStruct((1, 6, size, size, channels), np.uint8)
    counted = jit_steps(config, make_mesh(1, batch_sizes={6})).lower(state, real_u8).cost_analysis()["flops"]
    operations = step_operations(config, batch=6)
    # XLA also counts norms and Adam, which grow more slowly with the width and the image size than the convolutions.
    assert operations.direct < counted < 1.15 * operations.direct
    assert 9 / 16 < operations.winograd / operations.direct < 0.75


@pytest.mark.slow
def test_the_ways_of_the_input_benchmark_bring_the_images_of_the_files(tmp_path: Path) -> None:
    paths = make_files(tmp_path / "images", 30)
    mapped = load_dataset(tmp_path / "images", size=192, memory_mb=1, cache=str(tmp_path / "cache"), say=lambda line: None)
    assert isinstance(mapped, MappedDataset)
    np.testing.assert_array_equal(mapped.gather([7])[0], decode(paths[7], 192))
    ways = warm_ways(paths, mapped, batch=5)
    ours = [np.asarray(next(way())) for name, way in ways.items() if name.startswith("ours")]
    assert [chunk.shape for chunk in ours] == 3 * [(10, 5, 192, 192, 3)]
    for chunk in ours[1:]:
        np.testing.assert_array_equal(chunk, ours[0])
    assert sorted(np.unique(ours[0][:6].reshape(30, -1), axis=0).tolist()) == sorted(mapped.preview(30).reshape(30, -1).tolist())
    assert decode_alone(tmp_path / "images", 32)[0] == 30


def test_the_input_benchmark_takes_turns_and_shows_ratios_of_each_round(capsys: pytest.CaptureFixture[str]) -> None:
    values = iter([2.0, 1.0, 9.0, 3.0])
    found = take_turns({"ours": lambda: next(values), "theirs": lambda: next(values)}, rounds=2)
    assert found == {"ours": [2.0, 9.0], "theirs": [1.0, 3.0]}
    print_rates("warm", found, against="theirs")
    assert "| ours | 6 (2–9) | 2.50 (2.00–3.00) |" in capsys.readouterr().out


def test_the_input_benchmark_sees_memory_at_four_moments(tmp_path: Path) -> None:
    make_files(tmp_path / "images", 3)
    moments = memory_of(tmp_path / "images", tmp_path / "cache", size=32, memory_mb=1)
    assert len(moments) == 4
    assert all(int(own) > 1 and int(mapped) > 1 for own, mapped in (moment.split("/") for moment in moments))


def test_the_benchmark_of_3x3_convolutions_times_the_same_results() -> None:
    rng = np.random.default_rng(0)
    x, kernel = (np.asarray(rng.standard_normal(shape), np.float32) for shape in ((2, 8, 8, 3), (3, 3, 3, 4)))
    expected, *others = (
        {name: call() for name, call in passes_of(convolve, jax.numpy.asarray(x), jax.numpy.asarray(kernel)).items()}
        for convolve in IMPLEMENTATIONS.values()
    )
    assert tuple(expected) == PASSES
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-2), expected, other)
