"""Whole runs compute the recorded numbers: bit for bit with the versions and the processor of the recording, else close to
them in the first steps."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from record_runs import (
    CASES,
    COMMON,
    METRICS_RTOL,
    RECORDING,
    conditions,
    config_file,
    describe_tensor,
    differences,
    read_recording,
    renamed,
    run_case,
)

RECORDED = read_recording()
HOW = "python tests/equivalence/record_runs.py"
RUNS = [pytest.param(name, ending, id=f"{name}-{ending}") for name, case in CASES.items() for ending in case.endings]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ending"), RUNS)
def test_a_run_computes_the_recorded_numbers(name: str, ending: str, tmp_path: Path) -> None:
    case = CASES[name]
    if name not in RECORDED and not config_file(case).is_file():
        pytest.skip(f"there is no {config_file(case).name} yet")
    assert name in RECORDED, f"not recorded yet; `{HOW} --only {name}` does"
    exact = RECORDED[name]["conditions"] == conditions()
    found = run_case(case, tmp_path, ending=ending)
    assert differences(RECORDED[name]["runs"], found, exact=exact) == []


def test_this_machine_compares_bit_for_bit() -> None:
    """Skip, with the reason, if the cases above were compared to rounding only."""
    others = {name: case["conditions"] for name, case in RECORDED.items() if case["conditions"] != conditions()}
    if others:
        first = next(iter(others.values()))
        pytest.skip(f"{len(others)} cases are compared to rounding only: here {conditions()}; recorded {first}")


def test_the_recording_is_of_the_settings_of_its_case() -> None:
    assert {name: case["settings"] for name, case in RECORDED.items()} == {
        name: [*COMMON, *CASES[name].settings] for name in RECORDED
    }
    assert RECORDING.stat().st_size < 1_000_000


def _next_float(run: dict[str, Any]) -> None:
    run["metrics"]["loss_g"][3] = math.nextafter(run["metrics"]["loss_g"][3], math.inf)


def _another_loss(run: dict[str, Any]) -> None:
    run["metrics"]["loss_g"][3] *= 1 + 2 * METRICS_RTOL[3]


def _a_step_less(run: dict[str, Any]) -> None:
    run["metrics"]["step"].pop()


def _an_undone_step(run: dict[str, Any]) -> None:
    run["metrics"]["grad_norm_g"][0] = None


def _another_digest(run: dict[str, Any]) -> None:
    run["digest"] = "0" * 64


def _other_bits(run: dict[str, Any]) -> None:
    run["tensors"][_first(run, "float32")][2] = "0" * 64


def _another_shape(run: dict[str, Any]) -> None:
    run["tensors"][_first(run, "float32")][1] += "x1"


def _another_key(run: dict[str, Any]) -> None:
    run["tensors"][_first(run, "uint32")][2] = "0" * 64


def _another_name(run: dict[str, Any]) -> None:
    run["tensors"]["renamed"] = run["tensors"].pop(_first(run, "uint32"))


def _first(run: dict[str, Any], dtype: str) -> str:
    return next(name for name, tensor in sorted(run["tensors"].items()) if tensor[0] == dtype)


@pytest.mark.parametrize(
    ("change", "also_to_rounding"),
    [
        (_next_float, False), (_another_loss, True), (_a_step_less, True), (_an_undone_step, True), (_another_digest, False),
        (_other_bits, False), (_another_shape, True), (_another_key, True), (_another_name, True),
    ],
)  # fmt: skip
def test_the_comparison_finds_each_kind_of_change(change: Callable[[dict[str, Any]], None], also_to_rounding: bool) -> None:
    runs = RECORDED["smoke"]["runs"]
    changed = copy.deepcopy(runs)
    change(changed["run"])
    for exact in (True, False):
        assert differences(runs, copy.deepcopy(runs), exact=exact) == []
        assert bool(differences(runs, changed, exact=exact)) == (exact or also_to_rounding)


def test_a_tensor_is_described_by_its_values_and_not_by_its_layout() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    described = describe_tensor(array)
    assert described[:2] == ["float32", "2x3"]
    assert described[3] == pytest.approx(math.sqrt(55), rel=1e-8)
    assert describe_tensor(np.asfortranarray(array)) == described
    assert describe_tensor(array.astype(">f4")) == described
    assert describe_tensor(array + np.float32(1e-6))[2] != described[2]


def test_new_names_are_accepted_only_with_the_same_numbers() -> None:
    old = RECORDED["smoke"]
    new = copy.deepcopy(old)
    _another_name(new["runs"]["run"])
    _another_digest(new["runs"]["run"])
    assert renamed(old, new)["runs"] == new["runs"]
    for change in (_next_float, _other_bits):
        worse = copy.deepcopy(new)
        change(worse["runs"]["run"])
        with pytest.raises(RuntimeError, match="more than names"):
            renamed(old, worse)
    with pytest.raises(RuntimeError, match="cannot be compared here"):
        renamed(old, {**new, "conditions": {}})
