"""`verify` repeats a run: bitwise identical, or the first difference and what has changed since the run."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import contents_of, train_arguments
from faults import FAULTS
from PIL import Image

import main
from sharingan_jax.devices.environment import host_threads
from sharingan_jax.gan import step
from sharingan_jax.reporting.grids import read_png, save_png
from sharingan_jax.run.checkpoints import CheckpointManager
from sharingan_jax.run.load import load_run


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole_run, tmp_path / "run")
    return tmp_path / "run"


def _change_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_verify_repeats_a_whole_run_or_a_part_and_writes_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents_of(run)
    abandoned, other = (Path(tempfile.mkdtemp(prefix="sharingan-jax-verify-")) for _ in range(2))
    os.utime(abandoned, (1e9, 1e9))
    digest = json.loads((run / "manifest.json").read_text())["digest"]
    assert main.main(["verify", "--workdir", str(run)]) == 0
    expected = (
        f"bitwise identical: steps 1 to 12, digest {digest[:12]}\n"
        "  the metrics of every step\n  the tensors of each checkpoint: 4, 8, 12\n  the pixels of 3 sample grids\n"
        "not compared:\n  times, recorded environments, origins and branches, data.json's "
    )
    out, error = capsys.readouterr()
    assert expected in out
    assert max(map(len, out.splitlines())) <= 80
    assert "repeating  step 12/12" in error
    assert "Loss_D" not in error
    assert main.main(["verify", "--workdir", str(run), "--from", "4", "--to", "8"]) == 0
    assert "bitwise identical: steps 5 to 8, digest " in capsys.readouterr().out
    assert contents_of(run) == before
    assert not abandoned.exists()  # A verification that was killed left it, hours ago.
    other.rmdir()


@pytest.mark.slow
def test_verify_names_the_first_difference(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = step.draw_latents

    def other_latents(key: jax.Array, *, step: jax.Array, count: int, nz: int) -> jax.Array:
        return draw(key, step=step, count=count, nz=nz) * (1 + (step > 6))

    with monkeypatch.context() as patch:
        jax.clear_caches()
        patch.setattr(step, "draw_latents", other_latents)
        assert main.main(["verify", "--workdir", str(run)]) == 1
    jax.clear_caches()
    out = capsys.readouterr().out
    assert "metrics differ from step 7 on (then | now):\n  d_fake_after: 0." in out
    assert "tensors differ in the checkpoint of step 8:\n  gen.params." in out
    assert "nothing that the run recorded has changed since: " in out


def test_verify_names_changed_records_and_environments(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    record = json.loads(lines[9]) | {"loss_d": 0.5}
    (run / "metrics.jsonl").write_text("\n".join([*lines[:9], json.dumps(record), *lines[10:], ""]))

    def change(manifest: dict[str, Any]) -> None:
        (start,) = manifest["starts"]
        environment = start["environment"]
        earlier = {**environment, "versions": {**environment["versions"], "jax": "0.0.1"}}
        later = {**environment, "host_threads": 77}
        starts = [start | {"environment": earlier}, start | {"after_step": 10, "environment": later}]
        manifest.update(digest="ab" * 32, starts=starts)

    _change_json(run / "manifest.json", change)
    assert main.main(["verify", "--workdir", str(run), "--from", "8"]) == 1
    out = capsys.readouterr().out
    assert "metrics differ from step 10 on (then | now):\n  loss_d: 0.5 | " in out
    assert "tensors differ" not in out
    assert f"digests differ after step 12: {'ab' * 6} | " in out
    threads = host_threads()
    assert (
        "changed since the run (then | now):\n"
        f"  versions.jax: 0.0.1 | {jax.__version__} (steps 9 to 10)\n  host_threads: 77 | {threads} (steps 11 to 12)\n"
    ) in out


@pytest.mark.slow
def test_verify_says_what_it_cannot_compare(run: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--config.sample.num=16", "--config.sample.columns=4"]
    assert main.main(train_arguments(image_folder, run, *more)) == 0  # The run is complete: no grid is drawn again.
    shutil.rmtree(run / "checkpoints" / "4")
    _change_json(run / "manifest.json", lambda manifest: manifest.update(status="failed", digest=None, images_seen=0))
    capsys.readouterr()
    assert main.main(["verify", "--workdir", str(run)]) == 0
    out = capsys.readouterr().out
    assert "  the pixels of 3 sample grids\n" in out  # Each is drawn with the settings of the start that made its step.
    assert "\n  checkpoints that are gone: 4\n  status and step, since the run is recorded as failed and has not ended\n" in out
    assert "  how often the last start drew a grid: config.json has other settings than it\n    recorded\n" in out


def test_verify_finds_every_file_that_was_edited(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "checkpoints" / "12")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[4] = lines[4].replace('"epoch": 2', '"epoch": 9')
    (run / "metrics.jsonl").write_text("\n".join([*lines, ""]))
    (run / "samples" / "step_000004.png").unlink()
    save_png(run / "samples" / "step_000008.png", 255 - read_png(run / "samples" / "step_000008.png"))
    assert str(main.main(["verify", "--workdir", str(run)])) == FAULTS["edited"].code
    out = capsys.readouterr().out
    assert FAULTS["edited"].is_shown_in(out)
    assert "files that contradict each other (found | expected):\n  manifest.json: step: 12 | the step of a check" in out
    assert "sample grids differ:\n  samples/step_000004.png: missing\n  samples/step_000008.png: other pixels\n" in out
    assert "metrics differ from step 5 on (then | now):\n  epoch: 9 | 2\n" in out
    assert "nothing that the run recorded has changed since" not in out


def test_verify_finds_files_that_no_run_writes_and_settings_that_were_not_its_own(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(run / "samples" / "step_000004.png", run / "samples" / "step_4.png")
    shutil.copytree(run / "checkpoints" / "8", run / "checkpoints" / "08")

    def draw_others(manifest: dict[str, Any]) -> None:
        manifest["starts"][-1]["sample"]["columns"] = 2

    _change_json(run / "manifest.json", draw_others)
    save_png(run / "samples" / "step_000004.png", np.zeros((10, 10, 3), np.uint8))
    assert main.main(["verify", "--workdir", str(run)]) == 1
    out = capsys.readouterr().out
    differing = "".join(f"  samples/step_{step:06d}.png: other pixels\n" for step in (4, 8, 12))
    assert f"sample grids differ:\n{differing}" in out
    assert "  checkpoints/08: is not a checkpoint\n  samples/step_4.png: is not a grid\n" in out
    (run / "checkpoints" / "4" / "files.json").write_text("{}")
    assert main.main(["verify", "--workdir", str(run)]) == 2
    assert "is not in files.json" in capsys.readouterr().err


def test_a_checkpoint_that_was_replaced_by_a_whole_one_is_an_edit(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The steps after it give the run's own last weights, so they did not start from these."""
    started = load_run(run).state(4)
    params = jax.tree.map(lambda leaf: leaf * np.float32(1.01), started.gen.params)
    other = replace(started, gen=replace(started.gen, params=params))
    identity = json.loads((run / "checkpoints" / "4" / "identity" / "metadata").read_text())
    shutil.rmtree(run / "checkpoints" / "4")
    (run.parent / "other").mkdir()
    with CheckpointManager(run.parent / "other", keep=1) as checkpoints:
        checkpoints.save(other, {name: identity[name] for name in ("config", "data")})
    shutil.move(run.parent / "other" / "4", run / "checkpoints" / "4")
    assert main.main(["verify", "--workdir", str(run)]) == 1
    out = capsys.readouterr().out
    assert "edited or damaged: steps 1 to 12 give the run's weights again" in out
    assert "tensors differ in the checkpoint of step 4:" in out
    assert "nothing that the run recorded has changed since" not in out


@pytest.mark.slow
def test_verify_compares_a_checkpoint_at_any_step_and_a_run_with_other_sample_settings(
    run: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--config.train.steps=15", "--config.checkpoint.every=100", "--config.sample.every=5", "--config.checkpoint.keep=9"]
    assert main.main(train_arguments(image_folder, run, *more)) == 0
    assert main.main(train_arguments(image_folder, run, *more, "--config.train.steps=18")) == 0
    capsys.readouterr()
    assert main.main(["verify", "--workdir", str(run)]) == 0
    out = capsys.readouterr().out
    assert "  the tensors of each checkpoint: 4, 8, 12, 15, 18\n" in out
    assert "  the pixels of 5 sample grids\n" in out
    assert " ".join(out.split()).endswith("report.html and training.gif")


def test_verify_refuses_missing_records_and_damaged_checkpoints(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join([*lines[:6], *lines[7:], ""]))
    assert main.main(["verify", "--workdir", str(run)]) == 2
    assert f"{metrics} has no record of step 7" in capsys.readouterr().err
    metrics.write_text("\n".join([*lines, ""]))
    for path in (run / "checkpoints" / "8").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for more in ([], ["--from", "8"], ["--to", "4"]):
        assert main.main(["verify", "--workdir", str(run), *more]) == 2
        out, error = capsys.readouterr()
        assert f"{run / 'checkpoints'}: the checkpoint of step 8 is damaged" in error
        assert "repeating" not in out + error  # It is found before anything is repeated.


def test_verify_names_changed_images(run: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = tmp_path / "others"
    shutil.copytree(image_folder, others)
    Image.new("RGB", (40, 40)).save(others / "07.png")
    assert main.main(["verify", "--workdir", str(run), f"--config.data.path={others}"]) == 1
    assert (
        "the images have changed since the run (first: then, second: now):\n  07.png: other contents\n" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--from", "5"], "--from=5: the run has no checkpoint of that step; there are: 0, 4, 8, 12"),
        (["--to", "3"], "--to=3: the run has no checkpoint of that step; there are: 4, 8, 12"),
        (["--from", "8", "--to", "8"], "--from=8: expected a step below 8, where the repetition ends"),
        (["--config.seed=1"], "--config.seed: verify takes its settings from the run in --workdir. Only data.path, "),
    ],
)
def test_verify_refuses_steps_without_a_checkpoint_in_one_line(
    whole_run: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main.main(["verify", "--workdir", str(whole_run), *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
