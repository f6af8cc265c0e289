"""A checkpoint is read as it was written, or reported as damaged, for any damage to any of its files."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import smoke_config

from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.state import TrainState, digest
from sharingan_jax.run.checkpoints import CheckpointManager, DamagedCheckpointError

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
