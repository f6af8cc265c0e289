"""Walks as MP4: the frames come back, the bytes repeat, and a missing package is named."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sharingan_jax.errors import UserError
from sharingan_jax.reporting.video import find_ffmpeg, save_walk_mp4


def _frames(count: int = 5, *, height: int = 64, width: int = 96, channels: int = 3) -> list[np.ndarray]:
    """Return grey areas that move, uint8 [H, W, C]: half a colour's resolution changes them little."""
    frames = []
    for i in range(count):
        frame = np.full((height, width, channels), 40, np.uint8)
        frame[:, 16 * i : 16 * i + 16] = 220
        frames.append(frame)
    return frames


def test_a_missing_package_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError) as refusal:
        save_walk_mp4(tmp_path / "walk.mp4", _frames())
    missing = "an .mp4 is written by the package imageio-ffmpeg, which is not installed"
    hint = "Run: pip install imageio-ffmpeg, or write a .gif."
    assert str(refusal.value) == f"out={tmp_path / 'walk.mp4'}: {missing}. {hint}"
    assert not list(tmp_path.iterdir())


@pytest.fixture
def ffmpeg(tmp_path: Path) -> str:
    pytest.importorskip("imageio_ffmpeg", reason="the extra `video`; see requirements-dev.txt")
    return find_ffmpeg(tmp_path)


def _read(program: str, path: Path, *, height: int, width: int) -> np.ndarray:
    command = [program, "-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize(("height", "width", "channels"), [(64, 96, 3), (63, 95, 3), (64, 96, 1)])
def test_the_frames_come_back_with_even_sides(ffmpeg: str, tmp_path: Path, height: int, width: int, channels: int) -> None:
    frames = _frames(height=height, width=width, channels=channels)
    save_walk_mp4(tmp_path / "walk.mp4", frames)
    read = _read(ffmpeg, tmp_path / "walk.mp4", height=64, width=96)
    assert len(read) == 5
    expected = np.broadcast_to(np.stack(frames), (5, height, width, 3)).astype(int)
    assert np.abs(read[:, :height, :width] - expected).mean() < 2
    assert [path.name for path in tmp_path.iterdir()] == ["walk.mp4"]


def test_the_same_frames_give_the_same_bytes(ffmpeg: str, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        save_walk_mp4(tmp_path / name, iter(_frames()))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_failure_of_ffmpeg_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharingan_jax.reporting.video.find_ffmpeg", lambda path: "false")  # It fails at once.
    with pytest.raises(UserError, match=r"walk\.mp4: FFmpeg could not write the file: exit code 1"):
        save_walk_mp4(tmp_path / "walk.mp4", _frames())
    assert not list(tmp_path.iterdir())
