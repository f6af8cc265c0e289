"""Whether a file may be an image, by its first bytes: without reading the rest of it."""

from PIL import Image

from sharingan_jax.data.formats import AVIF_BRANDS, HEIC_BRANDS, MARKED, PREFIX, has_image_ending

MARK_BYTES = PREFIX
"""So many first bytes of a file are enough."""


def may_be_image(name: str, first: bytes) -> bool:
    """Return whether a file is called as an image, or begins as a format does whose files count whatever their name.

    Any other file is no image for `open_image` either, however it continues.
    """
    return has_image_ending(name) or _has_mark(first[:MARK_BYTES])


def _has_mark(first: bytes) -> bool:
    if first[4:8] == b"ftyp" and first[8:12] in HEIC_BRANDS + AVIF_BRANDS:  # Known also to a Pillow that cannot read them.
        return True
    Image.init()
    accepts = (Image.OPEN[name][1] for name in MARKED if name in Image.OPEN)
    return any(accept is None or accept(first) for accept in accepts)
