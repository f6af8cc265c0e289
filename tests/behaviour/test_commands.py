"""The command line: help, dry runs, errors, and every kind of sample."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, train_arguments
from PIL import Image

import main
import sharingan_jax
from sharingan_jax.__main__ import COMMANDS
from sharingan_jax.config.load import config_files
from sharingan_jax.reporting.grids import to_u8
from sharingan_jax.run.latents import draw_run_latents
from sharingan_jax.run.sample import sample


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run on emblems with checkpoints at steps 2 and 4."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    arguments = [
        word for word in train_arguments(Path(), workdir) if "config.data.source" not in word and "config.data.path" not in word
    ]
    assert main.main([*arguments, "--config.train.steps=4", "--config.checkpoint.every=2", "--config.sample.every=2"]) == 0
    return workdir


def _sample(run: Path, *more: str) -> int:
    return main.main(["sample", "--workdir", str(run), *more])


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
@pytest.mark.parametrize(
    ("started_as", "program"),
    [
        ("main.py", "python main.py"),
        ("/usr/bin/sharingan-jax", "sharingan-jax"),
        ("lib/sharingan_jax/__main__.py", "python -m sharingan_jax"),
    ],
)
def test_help_shows_examples_with_the_program_as_it_was_started(
    command: list[str], started_as: str, program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [started_as])
    if command:
        with pytest.raises(SystemExit, match="0"):
            main.main([*command, "--help"])
    else:
        assert main.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert f"\n  {program} {' '.join(command)}" in out
    assert f"usage: {program} " in out
    assert max(map(len, out.splitlines())) <= 80


def test_without_a_command_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert "Start here:\n  sharingan-jax --config quick\n" in out.replace("python -m sharingan_jax", "sharingan-jax")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"sharingan-jax {sharingan_jax.__version__}\n"


def test_configs_lists_each_with_its_purpose_and_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["configs"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines()[:-1])) <= 80  # The last line is a path.
    for path in config_files():
        assert f"\n{path.stem} " in f"\n{out}"
    assert "12 steps, seconds." in out


def test_runs_lists_a_run_without_importing_jax(run: Path) -> None:
    program = "import sys, main; code = main.main(sys.argv[1:]); print(code, 'jax' in sys.modules)"
    command = [sys.executable, "-c", program, "runs", str(run.parent)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    header, row, end = done.stdout.splitlines()
    assert header.split() == ["status", "step", "seed", "config", "age", "run"]
    assert re.fullmatch(rf"complete  4/4   0     smoke \+\d+  \d+ (s|min)\s+{re.escape(str(run))}", row), row
    assert end == "0 False"


def test_runs_says_if_there_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no runs in {tmp_path}\n"


def test_the_home_folder_is_expanded_in_the_flags(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").symlink_to(run)
    assert main.main(["sample", "--workdir=~/run", "--out=~/grid.png"]) == 0
    assert (tmp_path / "grid.png").is_file()


def test_sampling_from_python_returns_what_the_command_writes(run: Path, tmp_path: Path) -> None:
    samples = sample(run, tmp_path / "python.npy", num=3, seed=5)
    assert _sample(run, "--num", "3", "--seed", "5", "--out", str(tmp_path / "command.npy")) == 0
    assert np.load(tmp_path / "command.npy").shape == (samples.count, 32, 32, 3)
    np.testing.assert_array_equal(samples.latents, draw_run_latents(5, count=3, nz=8))
    assert (tmp_path / "python.npy").read_bytes() == (tmp_path / "command.npy").read_bytes()
    assert (samples.path, samples.origin, samples.groups) == (tmp_path / "python.npy", "step 4", 1)


def test_a_dry_run_shows_every_setting_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workdir = tmp_path / "run"
    assert (
        main.main(
            ["--config", str(ROOT / "configs" / "default.py"), "--workdir", str(workdir), "--dry-run", "--config.train.devices=1"]
        )
        == 0
    )
    out = capsys.readouterr().out
    for words in (
        "optim.disc.clip_norm = 5.0",
        "800: batches of 25, 4 per epoch, 200 epochs",
        "100 from the embedded emblems",
        "at step 1",
        "nothing was written",
    ):
        assert words in out
    # The published networks: sums of the kernels and batch norms in the reference's table.
    gen = 16 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3) + 2 * (512 + 256 + 128 + 64)
    disc = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 2 * (128 + 256 + 512)
    assert f"G {gen:,} and D {disc:,} parameters" in out
    assert not workdir.exists()


def test_a_dry_run_of_an_existing_run_says_where_it_would_resume(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        word for word in train_arguments(Path(), run) if "config.data.source" not in word and "config.data.path" not in word
    ]
    assert main.main([*arguments, "--dry-run"]) == 0
    assert "after step 4, from its checkpoint" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "trian: no such command. Did you mean train? Choose one of train, data, sample, project,"),
        (["train", "quick"], "quick: not an argument of sharingan-jax train. Did you mean --config quick?"),
        (["quick"], "quick: no such command. Did you mean --config quick? Choose one of train, "),
        (["--train.steps=5"], "--train.steps=5: not an argument of sharingan-jax train. Did you mean --config.train.steps?"),
        (["--config.=5"], '"": no such setting. `sharingan-jax train --help` lists every setting.'),
        (["sample", "--wrkdir", "a"], "--wrkdir: not an argument of sharingan-jax sample. Did you mean --workdir?"),
        (
            ["export", "--workdir=a", "--fromat=trace"],
            "--fromat=trace: not an argument of sharingan-jax export. Did you mean --format",
        ),
        (["verify"], "the following arguments are required: --workdir. See sharingan-jax verify --help"),
        (["--confg=x"], "--confg=x: not an argument of sharingan-jax train. Did you mean --config?"),
        (
            ["--config", "configs/none.py"],
            "--config=configs/none.py: expected a configuration, found none. In configs: baseline, crisp, default, ",
        ),
        (["--config.train.stesp=5"], "train.stesp: no such setting. Did you mean train.steps?"),
        (
            ["--config", "configs"],
            "--config=configs: expected a configuration, got a folder without a run. In configs: baseline, crisp, default, ",
        ),
        (["--config.KEY=5"], "--config.KEY: expected a setting's name for KEY"),
        (["--config.train.steps"], "--config.train.steps: expected a value. Write --config.train.steps=VALUE"),
        (["--config.train.devices=9"], "train.devices=9: expected at most the 8 of this machine (cpu). Use 0"),
        (["--config.train.devices=8"], "Use --config.train.devices=5, or a batch of 24"),
        (["--config.train.batch_size=101"], "train.batch_size=101: expected at most 100, the number of images"),
        (["--workdir=", "--config=smoke"], "--workdir=: expected the name of a file or folder, got an empty text."),
        (["--config="], "--config=: expected a configuration, found none. In "),
        (["sample"], "the following arguments are required: --out"),
        (["sample", "--workdir", "x", "--out="], "--out=: expected the name of a file or folder, got an empty text."),
        (["configs", "--config.seed=1"], "--config.seed: sharingan-jax configs takes its settings from"),
        (["runs", "nowhere"], "nowhere: expected a folder of runs, found none."),
        (["runs", ""], "error: DIR: expected the name of a file or folder, got an empty text."),
        (["sample", "--workdir", "nowhere", "--out", "x.png"], "error: nowhere: no config.json there; expected a run's folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main.main(arguments) == 2
    assert message in _error(capsys)


def test_sampling_prints_one_line(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    command = [sys.executable, str(ROOT / "main.py"), "sample", "--workdir", str(run), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"25 images of step 4 in {out}\n", "")


def test_samples_come_as_array_grid_folder_and_gif(run: Path, tmp_path: Path) -> None:
    assert _sample(run, "--num", "9", "--out", str(tmp_path / "new" / "images.npy")) == 0
    images = np.load(tmp_path / "new" / "images.npy")
    assert images.shape == (9, 32, 32, 3)
    assert images.dtype == np.float32
    assert np.abs(images).max() <= 1
    assert _sample(run, "--num", "9", "--out", str(tmp_path / "grid.png")) == 0
    # With the run's seed and count, the latents are those of the run's grids.
    assert (tmp_path / "grid.png").read_bytes() == (run / "samples" / "step_000004.png").read_bytes()
    assert _sample(run, "--num", "9", "--out", str(tmp_path / "folder")) == 0
    files = sorted((tmp_path / "folder").iterdir())
    assert len(files) == 9
    with Image.open(files[3]) as image:
        np.testing.assert_allclose(np.asarray(image), (images[3] + 1) * 127.5, atol=0.51)
    assert _sample(run, "--num", "3", "--out", str(tmp_path / "walk.gif")) == 0
    with Image.open(tmp_path / "walk.gif") as gif:
        assert gif.n_frames == 36  # type: ignore[attr-defined]
        assert gif.size == (256, 256)  # 32 pixels, enlarged 8 times


def test_a_png_of_one_image_is_the_image_itself(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one.npy", "one.png"):
        assert _sample(run, "--num", "1", "--out", str(tmp_path / name)) == 0
        assert capsys.readouterr().out == f"1 image of step 4 in {tmp_path / name}\n"
    with Image.open(tmp_path / "one.png") as image:
        np.testing.assert_array_equal(np.asarray(image), to_u8(np.load(tmp_path / "one.npy")[0]))


@pytest.mark.parametrize(
    ("more", "rows", "columns"),
    [([], 2, 5), (["--columns", "3"], 3, 3), (["--columns", "8"], 2, 8), (["--interpolate"], 9, 12)],
)
def test_a_grid_has_the_columns_of_the_run_or_of_the_flag(
    run: Path, tmp_path: Path, more: list[str], rows: int, columns: int
) -> None:
    """Each row of a walk leads from one latent to the next."""
    assert _sample(run, "--num", "9", *more, "--out", str(tmp_path / "grid.png")) == 0
    with Image.open(tmp_path / "grid.png") as image:
        assert image.size == (columns * 34 + 2, rows * 34 + 2)


def test_the_same_latents_give_the_same_images_and_another_step_gives_others(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", draw_run_latents(3, count=5, nz=8))
    for name, more in {
        "seed": ["--seed", "3", "--num", "5"],
        "latents": ["--latents", str(tmp_path / "z.npy")],
        "early": ["--seed", "3", "--num", "5", "--step", "2"],
        "running": ["--seed", "3", "--num", "5", "--statistics", "running"],
    }.items():
        assert _sample(run, *more, "--out", str(tmp_path / f"{name}.npy")) == 0
    drawn = {name: np.load(tmp_path / f"{name}.npy") for name in ("seed", "latents", "early", "running")}
    np.testing.assert_array_equal(drawn["seed"], drawn["latents"])
    assert not np.array_equal(drawn["seed"], drawn["early"])
    assert not np.array_equal(drawn["seed"], drawn["running"])


def test_a_walk_passes_through_its_latents_and_closes(run: Path, tmp_path: Path) -> None:
    more = ["--num", "3", "--statistics", "running"]
    assert _sample(run, *more, "--out", str(tmp_path / "ends.npy")) == 0
    assert _sample(run, *more, "--interpolate", "--out", str(tmp_path / "walk.npy")) == 0
    ends, frames = np.load(tmp_path / "ends.npy"), np.load(tmp_path / "walk.npy")
    np.testing.assert_allclose(frames[::12], ends, atol=1e-5)


def test_sampling_changes_nothing_in_the_run(run: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert _sample(run, "--out", str(tmp_path / "grid.png")) == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--step", "3", "--out", "x.png"], "there is no checkpoint of step 3; there are: 2, 4"),
        (["--num", "0", "--out", "x.png"], "--num=0: expected at least 1"),
        (["--num", "1", "--out", "x.gif"], "--num=1: expected at least 2, since a walk needs two ends"),
        (["--out", "x.bmp"], "--out=x.bmp: expected .png, .jpg, .npy, .gif, .mp4 or a folder's name with / at its end"),
        (["--seed", "-1", "--out", "x.png"], "--seed=-1: expected at least 0 and at most 2147483647"),
        (["--latents", "none.npy", "--out", "x.png"], "--latents=none.npy: not readable as an array"),
        (["--latents", "wrong.npy", "--out", "x.png"], "expected numbers of shape [N, 8] or [N, 8, 1, 1], got float64 [2, 3]"),
        (["--latents", "nan.npy", "--out", "x.png"], "--latents=nan.npy: not all of its numbers are finite"),
        (
            ["--latents", "large.npy", "--out", "x.png"],
            "--latents=large.npy: not all of its numbers are finite, or fit a float32",
        ),
        (
            ["--latents", "one.npy", "--out", "x.gif"],
            "--latents=one.npy: expected at least 2 latents, since a walk needs two ends, got 1",
        ),
        (
            ["--latents", "one.npy", "--num", "2", "--out", "x.png"],
            "--num with --latents: expected only one of them. Remove --num",
        ),
        (
            ["--latents", "object.npy", "--out", "x.png"],
            "object.npy: not readable as an array: it holds Python objects",
        ),
        (["--columns", "0", "--out", "x.png"], "--columns=0: expected at least 1"),
        (["--columns", "5", "--out", "x.gif"], "--columns=5: expected --out=grid.png, got --out=x.gif. Leave out --columns."),
        (["--between", "0,1,two,3", "--out", "x.png"], "--between=0,1,two,3: expected four indices of latents with commas"),
        (["--weights", "both", "--out", "x.png"], "keeps no averaged weights. Set train.ema_half_life=10000 in a new run."),
        (["--config.seed=1", "--out", "x.png"], "--config.seed: sharingan-jax sample takes its settings from the run"),
    ],
)
def test_a_mistake_in_sampling_is_one_line(
    run: Path, tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("wrong.npy", np.zeros((2, 3)))
    np.save("nan.npy", np.full((2, 8), np.nan))
    np.save("large.npy", np.full((2, 8), 1e300))
    np.save("one.npy", np.ones((1, 8)))
    np.save("object.npy", np.array([{}], object), allow_pickle=True)
    assert _sample(run, *more) == 2
    assert message in _error(capsys)


def test_a_damaged_checkpoint_is_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for path in (copy / "checkpoints" / "4").rglob("*"):
        if path.is_file() and path.stat().st_size > 2000:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0xFF
            path.write_bytes(content)
    assert _sample(copy, "--out", str(tmp_path / "x.png")) == 2
    assert "checkpoints" in _error(capsys)
    assert _sample(copy, "--step", "2", "--out", str(tmp_path / "x.png")) == 0
