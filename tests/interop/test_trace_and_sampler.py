"""A trace has a run's own steps; the exported sampler draws its images from one file."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import main
from pytorch_reference.replay import NZ, make_oracle, small_config
from sharingan_jax.data.emblems.draw import draw_emblems
from sharingan_jax.errors import UserError
from sharingan_jax.gan.metrics import METRIC_NAMES
from sharingan_jax.interop.stablehlo import load_sampler

WIDTHS = [
    "--config.model.gen.width=2",
    "--config.model.disc.width=2",
    f"--config.model.nz={NZ}",
    "--config.model.conv_impl=direct",
]
STEPS = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps of the default system, two channels wide."""
    workdir = tmp_path_factory.mktemp("runs") / "small"
    more = [
        "--config.train.steps=6",
        "--config.train.devices=1",
        "--config.log.tensorboard=False",
        "--config.train.steps_per_dispatch=2",
    ]
    assert main.main(["--config", str(ROOT / "configs/default.py"), "--workdir", str(workdir), *WIDTHS, *more]) == 0
    return workdir


@pytest.fixture(scope="module")
def trace(run: Path) -> dict[str, np.ndarray]:
    out = run.parent / "trace.npz"
    assert main.main(["export", "--workdir", str(run), "--format", "trace", "--steps", str(STEPS), "--out", str(out)]) == 0
    with np.load(out) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.slow
def test_a_trace_has_the_runs_images_and_metrics(run: Path, trace: dict[str, np.ndarray]) -> None:
    assert trace["real"].shape == (STEPS, 25, 64, 64, 3)
    assert trace["z"].shape == (STEPS, 25, NZ)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][:STEPS]
    for name in METRIC_NAMES:
        np.testing.assert_allclose(trace[name], [record[name] for record in records], rtol=1e-6, err_msg=name)
    emblems = draw_emblems(size=64)[0] / 127.5 - 1
    seen = trace["real"].reshape(-1, 64, 64, 3)  # One epoch: every image once.
    nearest = [int(np.argmin([np.abs(image - emblem).max() for emblem in emblems])) for image in seen]
    assert sorted(nearest) == list(range(100))


@pytest.mark.slow
def test_a_trace_alone_replays_in_pytorch(trace: dict[str, np.ndarray]) -> None:
    torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
    from pytorch_reference import oracle

    networks = {
        name.removeprefix("initial/"): array
        for name, array in trace.items()
        if name.startswith("initial/") and not name.endswith(("exp_avg", "exp_avg_sq"))
    }
    training = make_oracle(small_config("stabilised"), networks, dtype="float32")
    for k in range(STEPS):
        metrics = training.step(oracle.as_torch(trace["real"][k]), torch.tensor(trace["z"][k]))
        for name in ("loss_d", "loss_g", "d_real"):
            np.testing.assert_allclose(trace[name][k], metrics[name], rtol=1e-3, err_msg=f"{name} at step {k + 1}")
    final = training.tensors()
    assert {f"final/{name}" for name in final} == {name for name in trace if name.startswith("final/")}
    for name, array in final.items():
        # In float32, single weights may differ by whole Adam steps of 2e-4, and statistics and vectors follow them. So the
        # difference of a tensor is compared with the distance that the tensor moved.
        moved = np.linalg.norm(array - trace.get(f"initial/{name}", np.zeros_like(array)))
        assert moved > 0, name
        assert np.linalg.norm(trace[f"final/{name}"] - array) < 0.1 * moved, name


@pytest.mark.slow
def test_a_trace_reports_how_its_metrics_compare_with_the_runs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, out = tmp_path / "copy", str(tmp_path / "trace.npz")
    shutil.copytree(run, copy)
    trace = ["export", "--workdir", str(copy), "--format", "trace", "--steps", "8", "--out", out]
    assert main.main(trace) == 0
    assert "; their metrics equal metrics.jsonl bit for bit at all 6 steps that it has\n" in capsys.readouterr().out
    lines = (copy / "metrics.jsonl").read_text().splitlines()
    (copy / "metrics.jsonl").write_text("\n".join([*lines[:4], json.dumps(json.loads(lines[4]) | {"loss_g": 1.0}), ""]))
    assert main.main(trace) == 0
    assert "; their metrics differ from metrics.jsonl from step 5 on\n" in capsys.readouterr().out
    (copy / "metrics.jsonl").unlink()
    assert main.main(trace) == 0
    assert "; metrics.jsonl has none of these steps to compare with\n" in capsys.readouterr().out


@pytest.mark.slow
def test_a_trace_over_batches_of_two_sizes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = [
        "--config.train.batch_size=60",
        "--config.train.steps=1",
        "--config.train.devices=1",
        "--config.log.tensorboard=False",
    ]
    assert main.main(["--config", str(ROOT / "configs/default.py"), "--workdir", str(tmp_path / "run"), *WIDTHS, *more]) == 0
    out = ["--out", str(tmp_path / "trace.npz")]
    assert main.main(["export", "--workdir", str(tmp_path / "run"), "--format", "trace", "--steps", "3", *out]) == 2
    assert (
        "--steps=3: expected batches of one size, got 40 images at step 2 after batches of 60. Use --steps=1."
        in capsys.readouterr().err
    )


@pytest.mark.slow
def test_the_exported_sampler_draws_the_runs_images_for_any_number_of_latents(run: Path, tmp_path: Path) -> None:
    for statistics in ("batch", "running"):
        model = tmp_path / f"{statistics}.stablehlo"
        more = ["--statistics", statistics, "--out", str(model)]
        assert main.main(["export", "--workdir", str(run), "--format", "stablehlo", *more]) == 0
        for num in ("3", "7"):
            files = [tmp_path / "a.npy", tmp_path / "b.npy"]
            assert main.main(["sample", "--model", str(model), "--num", num, "--out", str(files[0])]) == 0
            more = ["--num", num, "--statistics", statistics, "--out", str(files[1])]
            assert main.main(["sample", "--workdir", str(run), *more]) == 0
            images = [np.load(file) for file in files]
            assert images[0].shape == (int(num), 64, 64, 3)
            np.testing.assert_allclose(*images, atol=1e-5)
    content = bytearray(model.read_bytes())
    for place in (100, len(content) // 2, len(content) - 40, len(content) - 1):
        content[place] ^= 1
        model.write_bytes(content)
        with pytest.raises(UserError, match="one that was damaged since"):
            load_sampler(model)
        content[place] ^= 1
    model.write_bytes(content)
    assert load_sampler(model).image_shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["sample", "--model", "none.stablehlo", "--out", "x.png"],
            "none.stablehlo: no such file. Write one with `export --format stablehlo`.",
        ),
        (
            ["sample", "--model", "torn.stablehlo", "--out", "x.png"],
            "torn.stablehlo: expected a file written by `export --format stablehlo`, got another one, or one",
        ),
        (["sample", "--model", "x", "--step", "3", "--out", "x.png"], "--step: goes with --workdir"),
        (["sample", "--out", "x.png"], "one of the arguments --workdir --model is required"),
        (
            ["export", "--workdir", "x", "--format", "pytorch", "--out", "x.npz"],
            "--out=x.npz: expected a name ending in .safetensors or .pth for --format=pytorch",
        ),
        (
            ["export", "--workdir", "x", "--format", "trace", "--step", "3", "--out", "x.npz"],
            "--step: goes with --format=pytorch",
        ),
        (["export", "--workdir", "x", "--format", "trace", "--steps", "0", "--out", "x.npz"], "--steps=0: expected at least 1"),
        (["export", "--workdir", "x", "--format", "tracer", "--out", "x.npz"], "invalid choice: 'tracer'"),
    ],
)
def test_a_mistake_is_a_one_line_error(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("torn.stablehlo").write_bytes(b"torn")
    assert main.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
