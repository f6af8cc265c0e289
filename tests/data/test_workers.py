"""Calls in other processes: in order, with the function's own errors, and an error if a process dies."""

import math
import os

import pytest

from sharingan_jax.data.workers import map_in_processes
from sharingan_jax.errors import UserError


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order_and_errors_are_the_functions_own(processes: int) -> None:
    assert list(map_in_processes(math.sqrt, [n * n for n in range(20)], processes=processes)) == [*range(20)]
    with pytest.raises(ValueError, match=r"domain|nonnegative"):
        list(map_in_processes(math.sqrt, [1.0, -1.0, 4.0], processes=processes))


def test_a_process_that_dies_is_one_line() -> None:
    with pytest.raises(UserError, match=r"a process that decodes images has ended \(exit code 7\)"):
        list(map_in_processes(os._exit, [7, 7], processes=2))
