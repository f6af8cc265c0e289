"""The comparison of two replays detects differences and non-finite values."""

import numpy as np

from pytorch_reference.replay import relative_differences


def test_a_difference_is_relative_to_the_largest_value_and_a_nan_is_infinite() -> None:
    theirs = {"a": np.array([1.0, -4.0]), "b": np.array([2.0])}
    assert relative_differences({"a": np.array([2.0, -4.0]), "b": np.array([2.0])}, theirs) == {"a": 0.25, "b": 0.0}
    for odd in (np.nan, np.inf):
        found = relative_differences({"a": np.array([1.0, -4.0]), "b": np.array([odd])}, theirs)
        assert max(found.values()) == np.inf
