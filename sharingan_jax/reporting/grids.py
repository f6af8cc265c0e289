"""Image arrays as sample grids, PNG files and GIFs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sharingan_jax.errors import UserError
from sharingan_jax.files import write_atomically

GRID_SIDE = 400  # pixels of a grid's longer side in a plot or a GIF, at least
SQUARE = 8  # pixels a side of the checkerboard behind transparent images
WALK_SIDE = 256  # pixels a side of a walk's images, at most
WALK_FPS = 12  # images a second
SIDE_GAP = 8  # pixels between pictures side by side
TRAINING_FRAME_MS = 500
TRAINING_LAST_MS = 2000
PALETTE_FRAMES = 8
MOST_FRAMES = 240  # of a run's GIF: two minutes


def make_grid(images: np.ndarray, *, columns: int = 8, padding: int = 2, pad_value: float = 0.0) -> np.ndarray:
    """Return images [N, H, W, C] (C 1, 3 or 4) as one grid, uint8 [H', W', 3], filled left to right.

    The grid is min–max normalised over all N images: black and white are the darkest and the lightest value of the batch, not
    −1 and 1. A single image has no batch: it is returned as `to_u8` gives it, without a frame. Images with transparency (C = 4)
    are laid on a checkerboard first.
    Torch: `torchvision.utils.make_grid(images, nrow=8, padding=2, normalize=True)` for N > 1, rounded as by `save_image`.
    Raise ValueError if a value is not finite.
    """
    if not np.isfinite(images).all():
        raise ValueError("make_grid: the images hold values that are not finite")
    if images.shape[-1] == 4:
        images = lay_on((images + 1) / 2, ground=_checkerboard(*images.shape[1:3])) * 2 - 1
    count, height, width, channels = images.shape
    if count == 1:
        return as_rgb(to_u8(images[0]))
    low, high = float(images.min()), float(images.max())
    scaled = (np.clip(images, low, high) - low) / max(high - low, 1e-5)
    columns = min(columns, count)
    rows = -(-count // columns)
    grid = np.full((rows * (height + padding) + padding, columns * (width + padding) + padding, channels), pad_value, np.float64)
    for i, image in enumerate(scaled):
        top, left = padding + i // columns * (height + padding), padding + i % columns * (width + padding)
        grid[top : top + height, left : left + width] = image
    return as_rgb(np.clip(np.floor(grid * 255 + 0.5), 0, 255).astype(np.uint8))


def to_u8(images: np.ndarray) -> np.ndarray:
    """Return values in [−1, 1], of any shape, as uint8 by rounding. Values outside of that range are clamped."""
    return np.clip(np.round((images + 1.0) * 127.5), 0, 255).astype(np.uint8)


def lay_on(images: np.ndarray, *, ground: np.ndarray | float) -> np.ndarray:
    """Lay images [..., H, W, 4] in [0, 1], the last channel opacity, on a ground that broadcasts to [..., H, W, 3]."""
    alpha = images[..., 3:]
    return np.asarray(images[..., :3] * alpha + ground * (1 - alpha))


def lay_on_white(images_u8: np.ndarray) -> np.ndarray:
    """Return images uint8 [..., H, W, 4] laid on white, uint8 [..., H, W, 3], and images of 1 or 3 channels as they are."""
    if images_u8.shape[-1] != 4:
        return images_u8
    return np.round(lay_on(images_u8.astype(np.float32) / 255, ground=1.0) * 255).astype(np.uint8)


def lay_on_checkerboard(images_u8: np.ndarray) -> np.ndarray:
    """Return images uint8 [..., H, W, 4] laid on a checkerboard, uint8 [..., H, W, 3], and others as they are."""
    if images_u8.shape[-1] != 4:
        return images_u8
    ground = _checkerboard(*images_u8.shape[-3:-1])
    return np.round(lay_on(images_u8.astype(np.float32) / 255, ground=ground) * 255).astype(np.uint8)


def _checkerboard(height: int, width: int) -> np.ndarray:
    """Return white and light grey squares, as drawing programs show behind transparent parts: float32 [H, W, 1] in [0, 1]."""
    rows, columns = np.indices((height, width)) // SQUARE
    return np.where((rows + columns) % 2, np.float32(0.8), np.float32(1))[..., None]


def enlarge(image_u8: np.ndarray, factor: int) -> np.ndarray:
    """Return uint8 [H, W, C] with each pixel repeated `factor` times in both directions: [H·factor, W·factor, C]."""
    return image_u8.repeat(factor, axis=0).repeat(factor, axis=1)


def enlarge_grid(grid_u8: np.ndarray) -> np.ndarray:
    """Enlarge a grid by the smallest whole factor that makes its longer side at least GRID_SIDE pixels."""
    return enlarge(grid_u8, -(-GRID_SIDE // max(grid_u8.shape[:2])))


def add_caption(image_u8: np.ndarray, text: str) -> np.ndarray:
    """Put a white strip with `text`, centred, on top of uint8 [H, W, 3]. The image is widened if the text is wider than it.

    The strip is a tenth of GRID_SIDE high, so its letters are readable in every grid that `enlarge_grid` returns.
    """
    strip = GRID_SIDE // 10
    font = ImageFont.load_default(size=strip // 2)
    height, width, _ = image_u8.shape
    canvas_width = max(width, math.ceil(font.getlength(text)) + strip // 2)
    canvas = Image.new("RGB", (canvas_width, strip + height), "white")
    ImageDraw.Draw(canvas).text((canvas_width / 2, strip / 2), text, fill="black", font=font, anchor="mm")
    canvas.paste(Image.fromarray(image_u8), ((canvas_width - width) // 2, strip))
    return np.asarray(canvas)


def side_by_side(pictures: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return pictures uint8 [H, W, 1 or 3] of one height next to each other, each under its name: uint8 [H', W', 3]."""
    captioned = [add_caption(as_rgb(picture), name) for name, picture in pictures.items()]
    gap = np.full((len(captioned[0]), SIDE_GAP, 3), 255, np.uint8)
    return np.concatenate([part for picture in captioned for part in (gap, picture)][1:], axis=1)


def save_png(path: Path, image_u8: np.ndarray) -> None:
    """Write uint8 [H, W, C], C 1, 3 or 4, as a PNG."""
    write_atomically(path, lambda file: as_image(image_u8).save(file, "PNG"))


def save_image(path: Path, image_u8: np.ndarray) -> None:
    """Write uint8 [H, W, 3] or [H, W, 1] as a PNG, or as a JPEG of quality 95 if the name says so."""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        write_atomically(path, lambda file: as_image(image_u8).save(file, "JPEG", quality=95, subsampling=0))
    else:
        save_png(path, image_u8)


def read_png(path: Path) -> np.ndarray:
    """Return the image in a PNG file, uint8 [H, W, 3]. Raise UserError, naming the file, if it cannot be read."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path}: not a readable PNG: {error}. Move it away and start again.") from None


def save_training_gif(path: Path, grids: Mapping[int, Path]) -> None:
    """Write a run's sample grids, the PNG file of each step, as a GIF: half a second a grid, two seconds for the last one.

    Each frame is enlarged to a visible size and its step stands above it. Of more than MOST_FRAMES grids every second, third
    or n-th is taken, and the last. Grids that differ in size from the last one are left out: they were made with another
    `sample.columns`. Raise UserError, naming the file, if a PNG cannot be read.
    """
    steps = sorted(grids, reverse=True)
    read = {step: read_png(grids[step]) for step in reversed(steps[:: -(-len(steps) // MOST_FRAMES)])}
    last = read[max(read)]
    shown = [add_caption(enlarge_grid(grid), f"step {step}") for step, grid in read.items() if grid.shape == last.shape]
    # Captions of different lengths widen narrow grids differently; in a GIF all frames are of one size.
    width = max(frame.shape[1] for frame in shown)
    save_gif(path, [_widen(frame, width) for frame in shown], [TRAINING_FRAME_MS] * (len(shown) - 1) + [TRAINING_LAST_MS])


def walk_frame(image_u8: np.ndarray) -> np.ndarray:
    """Return an image uint8 [H, W, C] as a frame of a walk, uint8 [H', W', 1 or 3]: enlarged to at most WALK_SIDE pixels a side.

    Transparent images are laid on white: a GIF or MP4 knows no half-transparent pixels.
    """
    image_u8 = lay_on_white(image_u8)
    return enlarge(image_u8, max(1, WALK_SIDE // max(image_u8.shape[:2])))


def save_walk_gif(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write frames, each uint8 [H, W, 1 or 3] and of one size, as a GIF of WALK_FPS frames a second.

    A GIF counts time in hundredths of a second, so frames are shown for 80 or 90 ms: 12 of them take one second exactly.
    """
    hundredths = np.arange(len(frames) + 1) * 100 // WALK_FPS
    save_gif(path, frames, (np.diff(hundredths) * 10).tolist())


def save_gif(path: Path, frames: Sequence[np.ndarray], durations_ms: Sequence[int]) -> None:
    """Write frames, each uint8 [H, W, 1 or 3] and of one size, as a GIF that repeats for ever.

    All frames share one palette, taken from frames of the whole GIF, so that colours do not flicker. It holds black and
    white, and nothing close to them: Pillow looks up a pixel's colour to 4 levels of 256, and would show white as light grey.
    """
    images = [as_image(frame).convert("RGB") for frame in frames]
    chosen = np.concatenate([np.asarray(image) for image in images[:: -(-len(images) // PALETTE_FRAMES)]])
    palette = Image.fromarray(chosen).quantize(254, method=Image.Quantize.MEDIANCUT)
    colours = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    colours[(colours >= 244).all(axis=1)] = 255
    colours[(colours <= 5).all(axis=1)] = 0
    palette.putpalette(bytes([0, 0, 0, 255, 255, 255]) + colours[:254].tobytes())
    first, *rest = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    options = {"save_all": True, "append_images": rest, "duration": list(durations_ms), "loop": 0, "optimize": False}
    write_atomically(path, lambda file: first.save(file, "GIF", **options))


def as_image(image_u8: np.ndarray) -> Image.Image:
    """Return uint8 [H, W, C], C 1, 3 or 4, as a Pillow image."""
    return Image.fromarray(image_u8[..., 0] if image_u8.shape[-1] == 1 else image_u8)


def as_rgb(image_u8: np.ndarray) -> np.ndarray:
    """Return uint8 [H, W, 1 or 3] as uint8 [H, W, 3]."""
    return np.broadcast_to(image_u8, (*image_u8.shape[:2], 3)).copy()


def _widen(image_u8: np.ndarray, width: int) -> np.ndarray:
    """Add white columns on both sides up to `width`."""
    missing = width - image_u8.shape[1]
    return np.pad(image_u8, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)), constant_values=255)
