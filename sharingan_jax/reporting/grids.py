"""Arrays of pictures as grids, files and films."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sharingan_jax.errors import UserError
from sharingan_jax.files import write_atomically

if TYPE_CHECKING:
    from PIL import Image

FRAME_MS = 250
LAST_FRAME_MS = 2000
PALETTE_FRAMES = 8


def make_grid(images: np.ndarray, *, columns: int = 8, padding: int = 2, pad_value: float = 0.0) -> np.ndarray:
    """A grid of pictures [N, H, W, C] (C 1 or 3), filled left to right, min–max normalised over all of them: uint8 [H', W', 3].

    Torch: `torchvision.utils.make_grid(images, nrow=8, padding=2, normalize=True)` as `save_image` rounds it. The original's
    grids are made so: black and white in them are the darkest and lightest values of the batch, not −1 and 1.
    Raises ValueError on values that are not finite.
    """
    if not np.isfinite(images).all():
        raise ValueError("a grid of pictures that are not finite")
    low, high = float(images.min()), float(images.max())
    scaled = (np.clip(images, low, high) - low) / max(high - low, 1e-5)
    count, height, width, channels = scaled.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    grid = np.full((rows * (height + padding) + padding, columns * (width + padding) + padding, channels), pad_value, np.float64)
    for i, picture in enumerate(scaled):
        top, left = padding + i // columns * (height + padding), padding + i % columns * (width + padding)
        grid[top : top + height, left : left + width] = picture
    grid_u8 = np.clip(np.floor(grid * 255 + 0.5), 0, 255).astype(np.uint8)
    return np.broadcast_to(grid_u8, (*grid_u8.shape[:2], 3)).copy()


def to_u8(images: np.ndarray) -> np.ndarray:
    """Values in [−1, 1], of any shape, to uint8 by rounding; what lies outside is clamped."""
    return np.clip(np.round((images + 1.0) * 127.5), 0, 255).astype(np.uint8)


def save_png(path: Path, image_u8: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] or [H, W, 1] as a PNG."""
    write_atomically(path, lambda file: as_image(image_u8).save(file, "PNG"))


def save_gif(path: Path, frames: Iterable[Path | np.ndarray], *, frame_ms: int = FRAME_MS, last_ms: int = LAST_FRAME_MS) -> None:
    """Writes a film that repeats for ever, its last frame shown for longer; frames are uint8 [H, W, 3] or PNG files.

    Frames of other sizes than the last one's (a run whose samples were counted otherwise before) are left out. All
    share one palette, of frames from the whole film, so that colours do not flicker.
    """
    from PIL import Image

    images = [_opened(frame) for frame in frames]
    images = [image for image in images if image.size == images[-1].size]
    chosen = images[:: -(-len(images) // PALETTE_FRAMES)]
    together = np.concatenate([np.asarray(image) for image in chosen])
    palette = Image.fromarray(together).quantize(256, method=Image.Quantize.MEDIANCUT)
    first, *rest = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [frame_ms] * len(rest) + [last_ms]
    write_atomically(
        path, lambda file: first.save(file, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False)
    )


def as_image(image_u8: np.ndarray) -> "Image.Image":
    """uint8 [H, W, 1 or 3] as a Pillow image."""
    from PIL import Image

    return Image.fromarray(image_u8[..., 0] if image_u8.shape[-1] == 1 else image_u8)


def _opened(frame: Path | np.ndarray) -> "Image.Image":
    from PIL import Image

    if isinstance(frame, Path):
        try:
            with Image.open(frame) as image:
                return image.convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(f"{frame}: a broken picture: {error}; move it away, and start again") from None
    return as_image(frame).convert("RGB")
