"""The plan of a comparison: its seeds, its variants and their folders, and the mistakes that are refused in one line."""

from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, smoke_config
from hypothesis import given
from hypothesis import strategies as st

from sharingan_jax.comparison.plan import MOST_SEEDS, Plan, changes, make_plan, parse_seeds
from sharingan_jax.errors import UserError


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("8", [8]),
        ("0:3", [0, 1, 2]),
        ("0,1,5", [0, 1, 5]),
        (" 4 , 0:2 ", [4, 0, 1]),
        ("007", [7]),
        ("2147483647", [2**31 - 1]),
        ("2147483646:2147483648", [2**31 - 2, 2**31 - 1]),
    ],
)
def test_seeds_are_numbers_and_ranges_with_commas(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", ",", "0,", "-1", "1.5", "a", "3:3", "3:1", "0:", ":4", "0:4:2", "0-3", "2147483648", "0:2147483649", "1 2", "٣"]
)
def test_a_text_that_names_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^seeds=.*: expected seeds such as 0:10 \(0 to 9\) or 0,1,5\.$"):
        parse_seeds(text)


def test_too_many_seeds_are_counted_and_not_listed() -> None:
    assert len(parse_seeds(f"0:{MOST_SEEDS}")) == MOST_SEEDS
    with pytest.raises(UserError, match=r"expected at most 4096 seeds, got 2,000,000,000\.$"):
        parse_seeds("0:2000000000")
    with pytest.raises(UserError, match=r"got 4,097\.$"):
        parse_seeds("0:4096,7")


@given(st.lists(st.tuples(st.integers(0, 2**31 - 10), st.integers(1, 9)), min_size=1, max_size=20))
def test_written_seeds_are_read_back(parts: list[tuple[int, int]]) -> None:
    text = ",".join(str(first) if count == 1 else f"{first}:{first + count}" for first, count in parts)
    assert parse_seeds(text) == [first + i for first, count in parts for i in range(count)]


def _plan(configs: Any = ("smoke",), seeds: Any = (0, 1), **options: Any) -> Plan:
    return make_plan(configs, seeds, **options)


def test_each_configuration_is_a_variant_with_a_folder_for_every_seed(tmp_path: Path) -> None:
    plan = _plan(["baseline", "stabilised"], [3, 1])
    assert [variant.name for variant in plan.variants] == ["baseline", "stabilised"]
    assert plan.seeds == (3, 1)
    assert plan.path(tmp_path, plan.variants[1], 3) == tmp_path / "stabilised" / "seed-3"
    assert changes(*(variant.config for variant in plan.variants)) == (
        "model.gen.spectral_norm: False -> True",
        "model.disc.spectral_norm: False -> True",
        "optim.disc.clip_norm: 0.0 -> 5.0",
    )


def test_vary_makes_a_variant_of_every_combination_of_values() -> None:
    plan = _plan(["smoke", "quick"], vary={"optim.disc.lr": ["1e-4", "2e-4"], "loss.beta": [0, 0.5]})
    assert [variant.name for variant in plan.variants] == [
        f"{config}, optim.disc.lr={lr}, loss.beta={beta}"
        for config in ("smoke", "quick")
        for lr in ("1e-4", "2e-4")
        for beta in ("0", "0.5")
    ]
    last = plan.variants[3]
    assert last.folder == "smoke-optim.disc.lr=2e-4-loss.beta=0.5"
    assert (last.config.optim.disc.lr, last.config.loss.beta) == (2e-4, 0.5)
    assert changes(plan.variants[0].config, last.config) == ("loss.beta: 0.0 -> 0.5", "optim.disc.lr: 0.0001 -> 0.0002")


def test_settings_apply_to_every_variant_and_a_varied_value_wins() -> None:
    plan = _plan(["smoke", "quick"], settings={"train.steps": "8", "model.nz": 5}, vary={"model.nz": ["6", "7"]})
    assert {variant.config.train.steps for variant in plan.variants} == {8}
    assert [variant.config.model.nz for variant in plan.variants] == [6, 7, 6, 7]
    assert _plan(settings=[("model.nz", "5"), ("model.nz", "6")]).variants[0].config.model.nz == 6


def test_the_plan_decides_the_seed_and_the_number_of_seeds() -> None:
    config = smoke_config(train__seeds="4", train__stacked_seeds="2", seed="9")
    (variant,) = _plan([config], [5, 6]).variants
    assert (variant.name, variant.folder) == ("config 1", "config-1")
    train = variant.config.train
    assert (variant.config.seed, train.seeds, train.stacked_seeds) == (5, 1, 0)


def test_a_file_is_named_after_its_stem_and_image_folders_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my lr.py").write_text((ROOT / "configs" / "smoke.py").read_text())
    monkeypatch.chdir(tmp_path)
    settings = {"data.source": "folder", "data.path": "images"}
    by_path, by_name = (_plan([source], settings=settings).variants[0] for source in (tmp_path / "my lr.py", "my lr.py"))
    assert (by_path.name, by_path.folder) == (by_name.name, by_name.folder) == ("my lr", "my-lr")
    assert by_path.config.data.path == str(tmp_path / "images")


def test_the_baseline_comes_first() -> None:
    plan = _plan(["smoke", "quick"], baseline="quick")
    assert [variant.name for variant in plan.variants] == ["quick", "smoke"]
    with pytest.raises(UserError, match=r"^baseline=slow: expected one of smoke, quick\.$"):
        _plan(["smoke", "quick"], baseline="slow")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"configs": []}, "configs: expected at least one configuration, such as baseline."),
        ({"seeds": []}, "seeds=: expected different numbers from 0 on"),
        ({"seeds": [1, 1]}, "seeds=1,1: expected different numbers from 0 on"),
        ({"seeds": [-1]}, "seeds=-1: expected different numbers from 0 on"),
        ({"settings": {"seed": 3}}, "seed: a comparison sets it itself. Use `seeds`"),
        ({"vary": {"train.seeds": [1, 2]}}, "train.seeds: a comparison sets it itself."),
        ({"settings": {"train.stacked_seeds": 2}}, "`stacked` for seeds in one program."),
        ({"settings": {"train.stesp": 3}}, "train.stesp: no such setting. Did you mean train.steps?"),
        ({"vary": {"optim.disc.lr": ["-1"]}}, "optim.disc.lr=-1.0: expected above 0"),
        ({"vary": {"optim.disc.lr": ["1e-4", "1e-4"]}}, "vary=optim.disc.lr: expected different values, got 1e-4, 1e-4."),
        ({"vary": {"optim.disc.lr": []}}, "vary=optim.disc.lr: expected different values, got none."),
        ({"configs": ["nowhere"]}, "config=nowhere: expected a configuration, found none."),
        ({"configs": ["smoke", "smoke"]}, "smoke is given twice. Leave one of them out."),
        (
            {"configs": ["default", "stabilised"]},
            "configs: default and stabilised have the same settings. Leave one of them out.",
        ),
        (
            {"vary": {"optim.disc.lr": ["1e-4", "0.0001"]}},
            "smoke, optim.disc.lr=1e-4 and smoke, optim.disc.lr=0.0001 have the same settings.",
        ),
        (
            {"configs": ["smoke", "default"]},
            "configs: smoke and default train on different images (data.*), so no figure compares them.",
        ),
        ({"vary": {"data.holdout": ["0", "0.2"]}}, "train on different images (data.*)"),
    ],
)
def test_a_plan_that_cannot_be_compared_is_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        _plan(**arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_variants_may_differ_in_how_the_last_batch_is_made() -> None:
    assert len(_plan(vary={"data.last_batch": ["keep", "drop"]}).variants) == 2
    assert changes(smoke_config(seed="1"), smoke_config(seed="2", train__seeds="3")) == ()
