"""A branch continues another run's state in a new folder, and both manifests record it."""

import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from conftest import contents_of, manifest_of, metrics_of, train_arguments

import main
from sharingan_jax.config.load import load_config
from sharingan_jax.errors import UserError
from sharingan_jax.run.load import load_run
from sharingan_jax.training.branch import branch

LENGTH = "--config.train.steps=12"


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole_run, tmp_path / "run")
    return tmp_path / "run"


def test_a_branch_without_changes_repeats_the_runs_bits(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workdir = tmp_path / "branch"
    before = contents_of(run)
    command = ["train", "--branch-from", f"{run}@8", "--workdir", str(workdir)]
    assert main.main([*command, "--dry-run"]) == 0
    assert contents_of(run) == before
    assert not workdir.exists()
    assert main.main(command) == 0
    assert f"branch of {run}@8 in {workdir} (then | now):\n  no setting changed\n" in capsys.readouterr().out
    assert manifest_of(workdir)["digest"] == manifest_of(run)["digest"]
    assert metrics_of(workdir) == metrics_of(run)[8:]
    assert manifest_of(workdir)["images_seen"] == manifest_of(run)["images_seen"]
    assert main.main(command) == 0  # Again: it continues the branch, which is complete.
    assert len(manifest_of(run)["branches"]) == 1
    assert main.main(["verify", "--workdir", str(run)]) == 0  # The run itself is whole.


@pytest.mark.slow
def test_a_branch_changes_settings_and_both_manifests_record_them(
    run: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "branch"
    other = ["--config.optim.disc.lr=1e-3", "--config.optim.gen.clip_norm=5", "--config.train.batch_size=10"]
    assert main.main(train_arguments(image_folder, run, *other)) == 2
    assert f"to continue its state so, give `train` --branch-from {run} and a new --workdir" in capsys.readouterr().err
    command = ["train", "--branch-from", str(run), "--workdir", str(workdir), *other, "--config.train.steps=16"]
    assert main.main(command) == 0
    changes = ["train.batch_size: 8 | 10", "train.steps: 12 | 16", "optim.gen.clip_norm: 0.0 | 5.0"]
    changes.insert(2, "optim.disc.lr: 0.0002 | 0.001")
    origin = manifest_of(workdir)["origin"]
    assert (origin["run"], origin["step"], sorted(origin["changes"])) == (str(run), 12, sorted(changes))
    (recorded,) = manifest_of(run)["branches"]
    assert (recorded["folder"], recorded["step"], sorted(recorded["changes"])) == (str(workdir), 12, sorted(changes))
    assert manifest_of(workdir)["images_seen"] == manifest_of(run)["images_seen"] + 4 * 10
    assert [record["step"] for record in metrics_of(workdir)] == [13, 14, 15, 16]
    assert main.main(["verify", "--workdir", str(workdir)]) == 0
    assert "bitwise identical: steps 13 to 16" in capsys.readouterr().out


def test_adams_moments_and_the_schedules_count_carry_over(run: Path, tmp_path: Path) -> None:
    changes = {"optim.disc.schedule": "linear", "optim.disc.decay_steps": 30, "optim.disc.clip_norm": 0, "seed": 3}
    changes |= {"train.ema_half_life": 100}
    branch(f"{run}@8", tmp_path / "branch", load_config(run / "config.json", changes))
    before, after = load_run(run).state(8), load_run(tmp_path / "branch").state()
    assert int(after.step) == 8
    for name in ("mu", "nu"):
        pairs = zip(*(jax.tree.leaves(optax.tree.get(state.disc.opt, name)) for state in (before, after)), strict=True)
        assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)
    counts = [int(count) for _, count in optax.tree.get_all_with_path(after.disc.opt, "count")]
    assert counts == [8, 8]  # Adam's, and the schedule's.
    assert jax.tree.all(jax.tree.map(np.array_equal, after.ema, after.gen.params))
    assert not np.array_equal(before.key, after.key)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config.model.gen.width=8", "--config.train.steps=20"],
            "expected networks of the same shapes, got model.gen.width: 4 | 8. Leave them out.",
        ),
        (["--config.train.seeds=2"], "train.seeds=2: expected 1 with --branch-from."),
        (["--config.train.steps=3"], "train.steps=3: expected more than 12, the step that the branch starts after."),
        (
            ["--config.train.steps=20", "--config.model.ghost_batches=3"],
            "model.ghost_batches=3: expected a divisor of the batch of 8.",
        ),
        (["--config.train.steps=20", "--config.data.path=/none"], "data.path=/none: expected a path that exists, got nothing"),
        (["--branch-from", "nowhere"], "--branch-from=nowhere: expected a run's folder, or DIR@STEP, found none."),
        (["--branch-from", "RUN@5", "--config.train.steps=20"], "there is no checkpoint of step 5; there are: 4, 8, 12"),
        (["--workdir", "RUN"], ": holds a run already. Give a new folder."),
    ],
)
def test_a_branch_that_cannot_be_made_is_refused_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    words = [word.replace("RUN", str(run)) for word in arguments]
    before = contents_of(run)
    assert main.main(["train", "--branch-from", str(run), "--workdir", str(tmp_path / "branch"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert contents_of(run) == before
    assert not (tmp_path / "branch").exists()


def test_a_branch_refuses_several_seeds_before_it_reads_anything(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json there"):
        branch(tmp_path / "none", tmp_path / "new", load_config("smoke"))
