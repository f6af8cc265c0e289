"""Frames as an MP4 file, written by FFmpeg from the package imageio-ffmpeg: the extra `video`."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from sharingan_jax.errors import UserError
from sharingan_jax.files import write_atomically
from sharingan_jax.reporting.grids import WALK_FPS

QUALITY = 15
"""x264's constant rate factor, from 0 (lossless) to 51. The default, 23, shows blocks around the fine lines of small images."""


def find_ffmpeg(path: Path) -> str:
    """Return the program that writes MP4 files. Raise UserError, naming the file `path`, if it is not installed."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # The package, or the program in it for this platform.
        missing = "an .mp4 is written by the package imageio-ffmpeg, which is not installed"
        raise UserError(f"out={path}: {missing}. Run: pip install imageio-ffmpeg, or write a .gif.") from None


def save_walk_mp4(path: Path, frames: Iterable[np.ndarray]) -> None:
    """Write frames, each uint8 [H, W, 1 or 3] and of one size, as an H.264 MP4 of WALK_FPS frames a second.

    Frames are passed on one after another, so their number is not limited by memory. Colours have half the resolution (yuv420p),
    which every player can show; so sides are even, and of an odd one the last row or column is repeated. One thread and no time
    or version in the file: the same frames give the same bytes with the same FFmpeg. Raise UserError as `find_ffmpeg` does, and
    if FFmpeg fails.
    """
    program = find_ffmpeg(path)
    write_atomically(path, lambda file: _encode(program, file, frames, path))


def _encode(program: str, file: IO[bytes], frames: Iterable[np.ndarray], path: Path) -> None:
    rest = iter(frames)
    first = _even_rgb(next(rest))
    height, width, _ = first.shape
    read = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(WALK_FPS), "-i", "-"]
    exact = ["-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"]
    coded = ["-an", "-c:v", "libx264", "-crf", str(QUALITY), "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"]
    command = [program, "-y", "-loglevel", "error", *read, *exact, *coded, file.name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            process.stdin.write(first.tobytes())
            for frame in rest:
                process.stdin.write(_even_rgb(frame).tobytes())
            process.stdin.close()
        except BrokenPipeError:  # FFmpeg has ended, and says why.
            pass
        except BaseException:
            process.kill()
            raise
        said = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        reason = said.splitlines()[-1] if said else f"exit code {process.returncode}"
        raise UserError(f"out={path}: FFmpeg could not write the file: {reason}")


def _even_rgb(frame: np.ndarray) -> np.ndarray:
    """Return a frame uint8 [H, W, 1 or 3] as [H', W', 3] with even sides: an odd one gets its last row or column twice."""
    height, width = frame.shape[:2]
    even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.broadcast_to(even, (*even.shape[:2], 3))
