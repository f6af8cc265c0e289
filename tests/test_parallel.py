"""Which devices share a batch, and what is said where they cannot."""

import pytest

from sharingan_jax.errors import UserError
from sharingan_jax.parallel import check_groups, make_mesh


@pytest.mark.parametrize(("sizes", "expected"), [({24}, 8), ({25}, 5), ({25, 10}, 5), ({7}, 7), ({13}, 1), ({25, 3}, 1)])
def test_left_to_itself_the_mesh_takes_as_many_of_eight_devices_as_fit(sizes: set[int], expected: int) -> None:
    assert make_mesh(0, batch_sizes=sizes).size == expected


def test_a_number_of_devices_that_does_not_fit_is_refused_with_what_does() -> None:
    with pytest.raises(
        UserError, match=r"train\.batch_size=25, which does not divide over train\.devices=8; .*devices=5, or a batch of 24"
    ):
        make_mesh(8, batch_sizes={25})
    with pytest.raises(UserError, match=r"an epoch's last batch one of 6, .*devices=2, or data\.last_batch=fill or drop"):
        make_mesh(4, batch_sizes={8, 6})
    with pytest.raises(UserError, match=r"train\.devices=9 and this machine has 8"):
        make_mesh(9, batch_sizes={9})


def test_groups_that_do_not_divide_a_batch_are_refused_with_those_that_do() -> None:
    check_groups(5, batch_sizes={25, 10})
    with pytest.raises(UserError, match=r"batch_norm_groups=2 does not divide a batch of 25; .*groups=1, or a batch of 24"):
        check_groups(2, batch_sizes={25})
    with pytest.raises(UserError, match=r"groups=4 does not divide a batch of 6; .*groups=2, or data\.last_batch=fill or drop"):
        check_groups(4, batch_sizes={8, 6})
