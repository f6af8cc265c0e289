"""A checkpoint is read as it was written, or reported as damaged, for any damage to any of its files."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import smoke_config
from faults import FAULTS

from sharingan_jax.errors import UserError
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.state import TrainState, digest
from sharingan_jax.run import checkpoints as module
from sharingan_jax.run.checkpoints import CheckpointManager, DamagedCheckpointError
from sharingan_jax.run.folder import RunFolder

IDENTITY = {"config": "0123", "data": "4567"}


def _remove(path: Path) -> None:
    path.unlink()


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(share: float) -> Callable[[Path], None]:
    """Return a function that flips one bit at that share of the file."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(share * (len(content) - 1))] ^= 0x01
        path.write_bytes(content)

    return flip


@pytest.fixture(scope="module")
def state() -> TrainState:
    return init_state(build_gan(smoke_config(model__gen__width="4", model__disc__width="4", model__nz="4")), seed=0)


def _write(folder: Path, state: TrainState) -> list[str]:
    """Write a checkpoint of `state` and return the names of its files."""
    with CheckpointManager(folder, keep=1) as checkpoints:
        checkpoints.save(state, dict(IDENTITY))
        checkpoints.wait()
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("damage", [_remove, _halve, *map(_flip, (0.0, 0.1, 0.5, 0.9, 1.0))])
def test_damage_to_any_one_file_is_detected(damage: Callable[[Path], None], state: TrainState, tmp_path: Path) -> None:
    names = _write(tmp_path / "whole", state)
    listed = {f"0/{name}" for name in json.loads((tmp_path / "whole" / "0" / "files.json").read_text())}
    noticed = set()
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", folder)
        damage(folder / name)
        try:
            with CheckpointManager(folder, keep=1, read_only=True) as checkpoints:
                if checkpoints.steps:
                    identity, read = checkpoints.identity(0), checkpoints.restore(0, like=state)
                    assert digest(read) == digest(state), name
                    assert {key: identity[key] for key in IDENTITY} == IDENTITY, name
        except DamagedCheckpointError:
            noticed.add(name)
    assert noticed >= listed
    assert len(listed) >= 3  # The arrays, their index, and the checkpoint's identity.


def test_a_checkpoint_without_its_list_of_files_is_damaged(state: TrainState, tmp_path: Path) -> None:
    assert "0/files.json" in _write(tmp_path, state)
    (tmp_path / "0" / "files.json").unlink()
    with (
        CheckpointManager(tmp_path, keep=1, read_only=True) as checkpoints,
        pytest.raises(DamagedCheckpointError, match=r"step 0 is damaged: .*files\.json"),
    ):
        checkpoints.restore(0, like=state)


def test_each_checkpoint_lists_its_own_files(state: TrainState, tmp_path: Path) -> None:
    with CheckpointManager(tmp_path, keep=3) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(replace(state, step=np.int32(step)), dict(IDENTITY))
    last = ("files.json", "_CHECKPOINT_METADATA", "commit_success.txt")
    for step in (1, 2, 3):
        place = tmp_path / str(step)
        names = json.loads((place / "files.json").read_text())
        there = [path.relative_to(place) for path in place.rglob("*") if path.is_file() and path.name not in last]
        assert sorted(names) == sorted(path.as_posix() for path in there)
        assert "identity/metadata" in names


@pytest.mark.parametrize("name", ["p [1]", "a\\b", "q*?", "ü {x} %20"])
def test_checkpoints_below_any_path_can_be_read(name: str, state: TrainState, tmp_path: Path) -> None:
    assert FAULTS["any-path"].code == "0"
    folder = tmp_path / name / "checkpoints"
    _write(folder, state)
    for read_only in (False, True):
        with CheckpointManager(folder, keep=1, read_only=read_only) as checkpoints:
            assert checkpoints.steps == [0]
            assert digest(checkpoints.restore(0, like=state)) == digest(state)


@pytest.mark.parametrize("found", [ValueError("no arrays"), TrainState(np.int32(0), np.zeros(2), np.ones(3), np.ones(4))])
def test_a_checkpoint_that_cannot_be_read_back_is_an_error_and_is_not_kept(
    found: object, state: TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restore(*_: object, **__: object) -> object:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(module.ocp.StandardCheckpointHandler, "restore", restore)
    with CheckpointManager(tmp_path, keep=1) as checkpoints:
        checkpoints.save(state, dict(IDENTITY))
        with pytest.raises(UserError, match="the last checkpoint could not be written"):
            checkpoints.wait()
    assert not (tmp_path / "0").exists()


def test_a_renamed_checkpoint_and_an_empty_folder_are_not_taken_for_what_their_names_say(
    state: TrainState, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path)
    _write(folder.checkpoints, state)
    (folder.checkpoints / "0").rename(folder.checkpoints / "12")
    (folder.checkpoints / "999").mkdir()
    assert folder.checkpoint_steps() == (12,)
    with (
        CheckpointManager(folder.checkpoints, keep=1, read_only=True) as checkpoints,
        pytest.raises(DamagedCheckpointError) as refusal,
    ):
        checkpoints.restore(12, like=state)
    assert FAULTS["renamed"].is_shown_in(str(refusal.value))


def test_the_best_checkpoint_stays_besides_the_last_ones(state: TrainState, tmp_path: Path) -> None:
    def save(checkpoints: CheckpointManager, step: int, best: int | None) -> None:
        checkpoints.best = best
        checkpoints.save(replace(state, step=np.int32(step)), dict(IDENTITY))

    with CheckpointManager(tmp_path, keep=2) as checkpoints:
        for step, best in ((1, 1), (2, 1), (3, 1), (4, 4), (5, 4), (6, 4), (7, 4)):
            save(checkpoints, step, best)
        checkpoints.wait()
        assert checkpoints.steps == [4, 6, 7]
    with CheckpointManager(tmp_path, keep=2) as checkpoints:  # A later start keeps it only if it names it.
        save(checkpoints, 8, None)
        checkpoints.wait()
        assert checkpoints.steps == [7, 8]
