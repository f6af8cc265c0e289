"""Images from a folder."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.sources.files import SYSTEM, FileReader, is_hidden, system_folder


def folder_dataset(folder: Path, decoding: Decoding, *, on_bad: str = "stop") -> ImageDataset:
    """Load the images below a folder, uint8 [N, size, size, channels], in the byte order of their relative names.

    Content decides what an image is, and a broken file counts as one only under an image's ending. Hidden files and folders are
    ignored. The folders of a system, pipes, devices and links to nothing are skipped without being opened.
    Raise UserError if the folder has no images, or with every image that cannot be read, unless `on_bad` is "skip".
    """
    reader = FileReader(decoding)
    for name in sorted(relative_names(folder, reader), key=os.fsencode):
        path = folder / name
        try:
            kind = path.stat().st_mode
        except OSError:
            reader.skip(name, "a link that leads nowhere")
            continue
        if not stat.S_ISREG(kind):
            reader.skip(name, "not a regular file")  # Opening a pipe would wait for its other end.
            continue
        try:
            with path.open("rb") as file:
                reader.read(name, file, size=path.stat().st_size)
        except OSError as error:
            reader.refuse(name, error.strerror or type(error).__name__)
    return reader.dataset(str(folder), kind="a folder", on_bad=on_bad)


def relative_names(folder: Path, reader: FileReader) -> Iterator[str]:
    """Yield the names of all files that are not hidden, and let `reader` record the folders that are skipped."""

    def fail(error: OSError) -> None:
        raise error  # By default os.walk ignores an unreadable folder, and its images would be missing without a word.

    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        if os.path.realpath(parent) in seen:  # A link back to a folder above it, or a second link to the same folder.
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        relative = Path(parent).relative_to(folder)
        for name in folders:
            if system := system_folder((relative / name / "any").as_posix()):
                reader.skip(system, SYSTEM)
        folders[:] = sorted(name for name in folders if not is_hidden(name) and not system_folder(f"{name}/any"))
        yield from ((relative / name).as_posix() for name in files if not is_hidden(name))
