"""Two runs compared by what they wrote of themselves."""

from sharingan_jax.run.diff import differing_conditions, differing_pictures, differing_settings, first_difference

ONE = {
    "config": {"seed": 0, "train": {"batch_size": 25, "steps": 4}},
    "data": {"fingerprint": "aa", "files": {"a.png": "1", "b.png": "2", "c.png": "3"}},
    "versions": {"jax": "0.10.2"},
    "host_threads": 2,
}


def test_settings_that_differ_are_named_with_both_values() -> None:
    other = {**ONE, "config": {"seed": 1, "train": {"batch_size": 25, "steps": 8}}}
    assert differing_settings(ONE, other) == ["seed: 0 | 1", "train.steps: 4 | 8"]
    assert differing_settings(ONE, ONE) == []


def test_conditions_that_differ_are_named_and_what_one_did_not_note_is_not() -> None:
    other = {**ONE, "versions": {"jax": "0.9.0", "optax": "0.2.8"}, "host_threads": 4}
    assert differing_conditions(ONE, other) == ["host_threads: 2 | 4", "versions.jax: 0.10.2 | 0.9.0"]


def test_pictures_that_differ_are_named() -> None:
    other = {**ONE, "data": {"fingerprint": "bb", "files": {"a.png": "1", "b.png": "9", "d.png": "4"}}}
    assert differing_pictures(ONE, other) == ["c.png: only in the first", "d.png: only in the second", "b.png: other contents"]
    pixels = {**ONE, "data": {"fingerprint": "bb", "files": ONE["data"]["files"]}}
    assert "other pixels" in differing_pictures(ONE, pixels)[0]
    many = {**ONE, "data": {"fingerprint": "bb", "files": {f"{i}.png": "0" for i in range(30)}}}
    assert differing_pictures(ONE, many)[-1] == "and 23 more"


def test_figures_part_at_the_first_step_whose_floats_differ() -> None:
    one = [{"step": step, "time": 1.0, "loss_d": step / 3, "loss_g": None} for step in (1, 2, 3)]
    other = [{**record, "time": 2.0} for record in one]
    assert first_difference(one, other) is None
    other[1] = {**other[1], "loss_d": 2 / 3 + 1e-16 * 2, "loss_g": 0.5}
    step, found = first_difference(one, other) or (0, [])
    assert step == 2
    assert [line.split(":")[0] for line in found] == ["loss_d", "loss_g"]
    assert first_difference(one, other[2:]) is None
