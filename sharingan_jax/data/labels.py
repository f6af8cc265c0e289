"""Class labels: from the folders that images lie in, and as a line of text."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import PurePosixPath

import numpy as np

from sharingan_jax.errors import listed

SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"})
"""Names of folders, in lower case, that are parts of a data set and not classes."""
FEW = 5
"""Classes that a line names."""


def labels_from_folders(names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Return the class of each image, int64 [N], and the classes in byte order, if the images' relative names have classes.

    Folders that all images share, as in an archive of one folder, do not count. Then a first-level subfolder is a class if all
    of this holds:

    - every image lies exactly one folder deep: none at the top, none deeper;
    - there are at least 2 such folders, with 2 images each on average;
    - not all of the folders are called as a split is (train, test, val, ...).

    Return None if the images have no classes.
    """
    parents = _own_folders(names)
    if any(len(parent) != 1 for parent in parents):
        return None
    folders = [parent[0] for parent in parents]
    classes = _classes_of(folders)
    if not classes:
        return None
    place = {name: index for index, name in enumerate(classes)}
    return np.array([place[folder] for folder in folders], np.int64), classes


def why_no_classes(names: Sequence[str]) -> str:
    """Return a remark for the user that says why folders that look like classes give none, or "" if no folders look so.

    Folders look like classes if more than half of the images lie one folder deep and these would have classes; or if every
    first-level folder is called as a split is, and has classes in it.
    """
    parents = _own_folders(names)
    others = [name for name, parent in zip(names, parents, strict=True) if len(parent) != 1]
    if others and 2 * len(others) < len(names):
        if classes := _classes_of([parent[0] for parent in parents if len(parent) == 1]):
            lie = "1 image does" if len(others) == 1 else f"{len(others):,} images do"
            found = f"{lie} not lie exactly one folder deep: {listed(others, most=FEW)}"
            return f"no classes: {listed(classes, most=FEW)} look like classes, but {found}"
        return ""
    firsts = sorted({parent[0] for parent in parents if parent}, key=str.encode)
    if all(len(parent) == 2 for parent in parents) and _are_splits(firsts) and _classes_of([parent[1] for parent in parents]):
        return f"no classes: the folders {listed(firsts, most=FEW)} are splits of a data set; one of them alone has classes"
    return ""


def _own_folders(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the folders that each image lies in, outermost first, without those at the top that all images share."""
    folders = [name.rpartition("/")[0] for name in names]
    parts = {folder: PurePosixPath(folder).parts for folder in set(folders)}
    parents = [parts[folder] for folder in folders]
    first, last = min(parents, default=()), max(parents, default=())  # Folders that these two share, all between them share.
    pairs = zip(first, last, strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return [parent[shared:] for parent in parents]


def _classes_of(folders: Sequence[str]) -> tuple[str, ...]:
    """Return the classes in byte order if the folders of images, one for each, are classes; else ()."""
    classes = tuple(sorted(set(folders), key=str.encode))
    return () if len(classes) < 2 or len(folders) < 2 * len(classes) or _are_splits(classes) else classes


def _are_splits(folders: Sequence[str]) -> bool:
    return all(name.lower() in SPLITS for name in folders)


def describe_labels(labels: np.ndarray, classes: Sequence[str], *, origin: str) -> str:
    """Return what a start says about labels int [N]: `3 classes, from the subfolders: cat (12), dog (30), owl (3)`."""
    counts = np.bincount(labels, minlength=len(classes))
    named = listed([f"{name} ({count:,})" for name, count in zip(classes, counts, strict=True)], most=FEW)
    return f"{len(classes):,} {'class' if len(classes) == 1 else 'classes'}, {origin}: {named}"
