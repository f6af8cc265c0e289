"""Calls in other processes: in order, with the function's own errors, and an error if a process dies."""

import io
import math
import os

import numpy as np
import pytest

from sharingan_jax.data import workers
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


def _arrays(n: int) -> tuple[str, np.ndarray, np.ndarray]:
    return f"{n}", np.full((n, 3, 5), n, np.uint8), np.arange(2 * n, dtype=np.int64)[::2]


def test_arrays_arrive_as_they_were_sent() -> None:
    for n, (name, images, strided) in enumerate(map_in_processes(_arrays, range(40), processes=2)):
        assert name == f"{n}"
        np.testing.assert_array_equal(images, np.full((n, 3, 5), n, np.uint8), strict=True)
        np.testing.assert_array_equal(strided, np.arange(n, dtype=np.int64) * 2, strict=True)
        images += 1  # They are the caller's own.


def test_a_process_that_dies_while_it_answers_is_one_line() -> None:
    answer, cut = io.BytesIO(), io.BytesIO()
    workers._send((None, np.zeros(2**20, np.uint8)), answer)
    cut.write(answer.getvalue()[:-1])
    for stream in (answer, cut):
        stream.seek(0)
    assert workers._receive(answer)[1].nbytes == 2**20
    with pytest.raises(EOFError):  # Which `call` makes one line.
        workers._receive(cut)
