"""One picture of many images as the network sees them, in groups with captions."""

from collections.abc import Sequence

import numpy as np

from sharingan_jax.reporting.grids import add_caption, enlarge, lay_on_checkerboard

COLUMNS = 10
GAP = 4  # pixels between images
TALL = 64  # pixels a side of an image on the sheet, at least
PAPER = 200  # grey level between the images, so that white images have an edge


def contact_sheet(groups: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Return a sheet uint8 [H', W', 3] of groups (caption, images uint8 [N, H, W, C]), row by row in their order.

    Pixels are shown as they are, only enlarged by a whole factor. Transparent images lie on a checkerboard.
    """
    parts = [add_caption(_tiles(images_u8), caption) for caption, images_u8 in groups]
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=255) for part in parts])


def _tiles(images_u8: np.ndarray) -> np.ndarray:
    """Return images [N, H, W, C] in rows of COLUMNS, uint8 [H', W', 3]."""
    shown = lay_on_checkerboard(images_u8)
    count, height, width, _ = shown.shape
    factor = -(-TALL // height)
    down, right = height * factor + GAP, width * factor + GAP
    sheet = np.full((-(-count // COLUMNS) * down + GAP, min(count, COLUMNS) * right + GAP, 3), PAPER, np.uint8)
    for i, image in enumerate(shown):
        top, left = GAP + i // COLUMNS * down, GAP + i % COLUMNS * right
        sheet[top : top + height * factor, left : left + width * factor] = enlarge(image, factor)
    return sheet
