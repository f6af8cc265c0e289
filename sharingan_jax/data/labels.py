"""Class labels: from the folders that images lie in, and as a line of text."""

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from sharingan_jax.errors import listed

SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"})
"""Names of folders, in lower case, that are parts of a data set and not classes."""
FEW = 5
"""Classes that a line names."""


def labels_from_folders(names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Return the class of each image, int64 [N], and the classes in byte order, if the images' relative names have classes.

    A first-level subfolder is a class if all of this holds:

    - every image lies exactly one folder deep: none at the top, none deeper;
    - there are at least 2 such folders, with 2 images each on average;
    - not all of the folders are called as a split is (train, test, val, ...).

    Return None if the images have no classes.
    """
    parents = [PurePosixPath(name).parts[:-1] for name in names]
    if any(len(parent) != 1 for parent in parents):
        return None
    folders = [parent[0] for parent in parents]
    classes = sorted(set(folders), key=str.encode)
    if len(classes) < 2 or len(names) < 2 * len(classes) or all(name.lower() in SPLITS for name in classes):
        return None
    place = {name: index for index, name in enumerate(classes)}
    return np.array([place[folder] for folder in folders], np.int64), tuple(classes)


def describe_labels(labels: np.ndarray, classes: Sequence[str], *, origin: str) -> str:
    """Return what a start says about labels int [N]: `3 classes, from the subfolders: cat (12), dog (30), owl (3)`."""
    counts = np.bincount(labels, minlength=len(classes))
    named = listed([f"{name} ({count:,})" for name, count in zip(classes, counts, strict=True)], most=FEW)
    return f"{len(classes):,} {'class' if len(classes) == 1 else 'classes'}, {origin}: {named}"
