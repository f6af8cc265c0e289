"""What the controls' rows look like on emblems: which measures a copier passes, and that the memorisation panel catches it."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from sharingan_jax.data.dataset import ArrayDataset, array_digests
from sharingan_jax.data.sources.emblems import emblem_dataset
from sharingan_jax.data.split import Split
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation import features, judge
from sharingan_jax.evaluation.controls import COPIES, COPIES_WITH_NOISE, MEAN, NOISE, REAL_HALF, TURNED, make_controls
from sharingan_jax.evaluation.features import make_spaces
from sharingan_jax.evaluation.judge import (
    CONTROLS,
    GIVEN,
    Evaluation,
    Judge,
    measures_that_copies_pass,
    primary_measure,
    read_evaluation,
)
from sharingan_jax.evaluation.measures.memorisation import measure_memorisation
from sharingan_jax.evaluation.measures.neighbours import expected_coverage
from sharingan_jax.evaluation.panel import LEAST_SIDE, MEASURES, Reference, measure_images, parts_of, perfect_coverage
from sharingan_jax.evaluation.sheets import neighbour_sheet
from sharingan_jax.evaluation.turns import UNTURNED, Turns, distances, soften

Rows = dict[str, dict[str, float]]

COUNT = 40
OF_MODES = {"modes_covered", "modes_divergence"}
HELD_OUT = ("random/kid_held_out", "random/kid_held_out_error")


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    """The training images: 40 emblems, uint8 [40, 32, 32, 3]."""
    return emblem_dataset(size=32, channels=3).preview(COUNT)


@pytest.fixture(scope="module")
def new() -> np.ndarray:
    """Emblems that were not trained on, uint8 [60, 32, 32, 3]: what a perfect sampler makes."""
    return emblem_dataset(size=32, channels=3, first=100).preview(60)


@pytest.fixture(scope="module")
def reference(train: np.ndarray, new: np.ndarray) -> Reference:
    spaces = make_spaces(["random"], train_u8=train, turns=Turns())
    return Reference(train, new[:20], spaces, Turns())


@pytest.fixture(scope="module")
def rows(reference: Reference, new: np.ndarray) -> Rows:
    """The measures of each control, and of a perfect sampler."""
    found = {control.name: measure_images(control.images, control.reference) for control in make_controls(reference, count=COUNT)}
    return found | {"perfect": measure_images(new[20:], reference)}


def test_every_row_has_every_measure_and_no_other(rows: Rows) -> None:
    keys = {f"random/{measure.key}" if measure.in_space else measure.key for measure in MEASURES} - OF_MODES
    for name, row in rows.items():
        assert row.keys() == keys, name
        assert all(np.isfinite(value) for value in row.values()), name


def test_exact_copies_win_every_measure_of_quality_and_lose_the_memorisation_panel(rows: Rows) -> None:
    copies, perfect = rows[COPIES], rows["perfect"]
    assert copies["random/frechet_train"] < 0.5 * perfect["random/frechet_train"]
    assert copies["random/kid_train"] < perfect["random/kid_train"]
    assert copies["random/precision"] == 1.0
    assert copies["random/coverage"] > 0.6  # Drawn with replacement, so some images are missing.
    assert (copies["authentic"], copies["nearest_ratio"], copies["close_share"]) == (0, 0, 1)
    assert copies["c_t"] < -4
    assert copies["gap"] < -15


def test_turned_copies_with_light_noise_pass_the_others_and_are_caught_by_the_panel(rows: Rows) -> None:
    turned, perfect = rows[TURNED], rows["perfect"]
    # What they pass: nearly as good as new emblems, or better.
    assert turned["random/precision"] > 0.9
    assert turned["random/coverage"] > 0.8 * perfect["random/coverage"]
    assert turned["random/recall"] > 0.8 * perfect["random/recall"]
    error = turned["random/kid_held_out_error"]
    assert turned["random/kid_held_out"] < perfect["random/kid_held_out"] + 3 * error
    # What catches them.
    assert turned["authentic"] < 0.05 < perfect["authentic"]
    assert turned["nearest_ratio"] < 0.4 < perfect["nearest_ratio"]
    assert turned["close_share"] > 0.5 > perfect["close_share"]
    assert turned["c_t"] < -4 < perfect["c_t"]
    assert turned["gap"] < -10 < perfect["gap"]


def test_distances_that_are_not_minimised_over_turns_do_not_catch_turned_copies(rows: Rows, reference: Reference) -> None:
    plain = replace(reference, turns=UNTURNED)
    turned = next(control.images for control in make_controls(reference, count=COUNT) if control.name == TURNED)
    found = measure_images(turned, plain)
    assert found["close_share"] < 0.2 < 0.5 < rows[TURNED]["close_share"]
    assert found["nearest_ratio"] > 2 * rows[TURNED]["nearest_ratio"]
    assert found["gap"] > rows[TURNED]["gap"] + 8


def test_the_mean_image_has_no_diversity_and_noise_no_quality(rows: Rows) -> None:
    mean, noise = rows[MEAN], rows[NOISE]
    assert mean["random/diversity"] == pytest.approx(0, abs=1e-6)
    assert mean["random/recall"] == 0
    assert mean["ms_ssim"] == pytest.approx(1)
    assert mean["neighbours_used"] == pytest.approx(1 / COUNT)
    assert (noise["random/precision"], noise["random/recall"], noise["random/coverage"]) == (0, 0, 0)
    assert noise["flat_noise"] > 30
    worst = max((row["random/kid_held_out"], name) for name, row in rows.items())
    assert worst[1] == NOISE
    assert rows["perfect"]["random/kid_held_out"] < 0.2 * mean["random/kid_held_out"]


def test_controls_are_made_as_they_are_called(reference: Reference, train: np.ndarray) -> None:
    controls = {control.name: control for control in make_controls(reference, count=30)}
    assert list(controls) == [REAL_HALF, COPIES, TURNED, MEAN, NOISE]
    assert len(controls) == CONTROLS
    half = controls[REAL_HALF]
    sides = {image.tobytes() for image in half.images}, {image.tobytes() for image in half.reference.train}
    assert (len(sides[0]), len(sides[1])) == (20, 20)
    assert sides[0] | sides[1] == {image.tobytes() for image in train}
    assert half.reference.digest == ""  # Its features are not those of the data set.
    assert {image.tobytes() for image in controls[COPIES].images} <= {image.tobytes() for image in train}
    assert np.ptp(controls[MEAN].images, axis=0).max() == 0
    np.testing.assert_allclose(controls[MEAN].images[0], train.mean(0), atol=0.5)
    assert all(control.images.dtype == np.uint8 for control in controls.values())
    assert all(len(control.images) == 30 for name, control in controls.items() if name != REAL_HALF)
    again = {control.name: control.images for control in make_controls(reference, count=30)}
    assert all(np.array_equal(control.images, again[name]) for name, control in controls.items())


def test_copies_are_not_turned_if_orientation_is_not_free(reference: Reference) -> None:
    upright = {c.name: c.images for c in make_controls(replace(reference, turns=UNTURNED), count=30)}
    assert TURNED not in upright
    noise = upright[COPIES_WITH_NOISE].astype(int) - upright[COPIES]
    inside = (upright[COPIES] > 20) & (upright[COPIES] < 235)  # Elsewhere the noise is cut off at 0 and 255.
    assert noise[inside].std() == pytest.approx(4, rel=0.1)
    assert abs(noise[inside].mean()) < 0.2
    mirrored = {c.name: c.images for c in make_controls(replace(reference, turns=Turns(angles=1)), count=30)}
    flipped = np.abs(mirrored[TURNED].astype(int) - mirrored[COPIES][:, :, ::-1]).mean((1, 2, 3)) < 4
    kept = np.abs(mirrored[TURNED].astype(int) - mirrored[COPIES]).mean((1, 2, 3)) < 4
    assert (flipped | kept).all()
    assert 5 < flipped.sum() < 25


def test_measures_that_copies_pass_are_named_and_the_memorisation_panel_is_not(rows: Rows, reference: Reference) -> None:
    named = measures_that_copies_pass(rows, reference.real_row)
    assert {"random/frechet_train", "random/precision", "sliced_wasserstein", "colour_distance"} <= set(named)
    assert not {"authentic", "nearest_ratio", "close_share", "gap", "c_t"} & set(named)
    assert not any(key.endswith("_error") for key in named)


def test_a_measure_is_named_by_the_side_that_is_better() -> None:
    real = {"ms_ssim": 0.5, "random/diversity": 1.0}
    new = {"frechet_train": 5.0, "random/precision": 0.9, "ms_ssim": 0.4, "nearest_ratio_real": 1.0, "random/diversity": 0.9}
    same = measures_that_copies_pass({REAL_HALF: new, COPIES: new}, real)
    assert set(same) == {"frechet_train", "random/precision", "ms_ssim", "random/diversity"}
    slightly_worse = {"frechet_train": 5.2, "random/precision": 0.87, "ms_ssim": 0.615, "random/diversity": 1.14}  # At most 5%.
    assert set(measures_that_copies_pass({REAL_HALF: new, COPIES: slightly_worse}, real)) == set(same)
    worse = {"frechet_train": 6.0, "random/precision": 0.8, "ms_ssim": 0.65, "nearest_ratio_real": 1.0, "random/diversity": 1.2}
    assert measures_that_copies_pass({REAL_HALF: new, COPIES: worse}, real) == ()


def test_a_measure_with_a_standard_error_is_passed_within_two_of_it() -> None:
    new = {"random/kid_train": 1.0, "random/kid_train_error": 0.5}
    for kid, passed in ((2.0, ("random/kid_train",)), (2.1, ())):
        assert measures_that_copies_pass({REAL_HALF: new, COPIES: {**new, "random/kid_train": kid}}, {}) == passed


def test_copies_whose_coverage_is_lower_by_chance_alone_pass_it() -> None:
    new, copies = {"random/coverage": 1.0}, {"random/coverage": 0.994}
    assert measures_that_copies_pass({REAL_HALF: new, COPIES: copies}, {}) == ("random/coverage",)


def test_measures_against_held_out_images_are_missing_without_them(reference: Reference, new: np.ndarray, rows: Rows) -> None:
    alone = replace(reference, held_out=None)
    found = measure_images(new[20:], alone)
    assert set(rows["perfect"]) - set(found) == set(HELD_OUT)
    assert found["random/frechet_train"] == rows["perfect"]["random/frechet_train"]
    # Training images stand for unseen ones, each with the others as neighbours.
    assert found["c_t"] != rows["perfect"]["c_t"]
    assert primary_measure(["pixels", "random"], held_out=True) == "random/kid_held_out"
    assert primary_measure(["pixels", "random", "gradients"], held_out=True) == "gradients/kid_held_out"
    assert primary_measure(["pixels", "random", "inception"], held_out=False) == "inception/kid_train"
    assert primary_measure(["random", "gradients", "mine.f", "mine.g"], held_out=True) == "mine.f/kid_held_out"
    assert primary_measure(["mine.f", "inception"], held_out=True) == "inception/kid_held_out"
    assert primary_measure(["pixels", "aligned"], held_out=True) == "pixels/kid_held_out"


def test_the_coverage_of_a_perfect_sampler_is_near_that_of_new_emblems(reference: Reference, rows: Rows) -> None:
    assert perfect_coverage(reference, 500) == expected_coverage(COUNT, COUNT, 5)
    assert perfect_coverage(replace(reference, train=reference.train[:4]), 500) == expected_coverage(4, 4, 3)
    assert perfect_coverage(reference, 12) == expected_coverage(12, 12, 5)
    assert rows["perfect"]["random/coverage"] == pytest.approx(perfect_coverage(reference, COUNT), abs=0.2)


def test_progress_is_reported_as_often_as_it_says(reference: Reference, new: np.ndarray) -> None:
    calls: list[None] = []
    measure_images(new[:20], reference, done=lambda: calls.append(None))
    assert len(calls) == parts_of(reference) == 3


def test_a_sheet_shows_samples_above_their_nearest_training_images_turned_to_match(
    reference: Reference, train: np.ndarray
) -> None:
    samples = np.concatenate([np.rot90(train[7])[None], train[3:4], train[10:20]])
    to_train = distances(soften(samples), reference.soft_train, reference.turns)
    sheet = neighbour_sheet(samples, to_train, reference)
    # Twelve columns of 96 pixels with gaps of 6. A caption, two rows of 102 and a gap, twice.
    assert (sheet.dtype, sheet.shape[1:]) == (np.uint8, (12 * 102 + 6, 3))
    top = sheet[sheet.shape[0] // 2 - 2 * 102 - 6 : sheet.shape[0] // 2]
    for column, expected in enumerate([np.rot90(train[7]), train[3]]):
        left = 6 + 102 * column
        assert np.array_equal(top[6:102:3, left : left + 96 : 3], expected)
        np.testing.assert_allclose(top[108:204:3, left : left + 96 : 3].astype(int), expected, atol=1)


def _evaluate(tmp_path: Path, train: np.ndarray, held_out: np.ndarray, *, names: tuple[str, ...] = ("random",)) -> Evaluation:
    def dataset(images: np.ndarray) -> ArrayDataset:
        return ArrayDataset(images=images, names=tuple(map(str, range(len(images)))), digests=array_digests(images))

    with (
        (tmp_path / "log.txt").open("w") as stream,
        Judge(Split(dataset(train), dataset(held_out)), names, samples=30, sets=1, stream=stream, place="data.path=x") as maker,
    ):
        return maker.judge({GIVEN: held_out}, subject="new", step=None, digest="d", note="", folder=tmp_path / "out")


def test_an_evaluation_reads_back_as_it_was_written(
    tmp_path: Path, train: np.ndarray, new: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "cache_folder", lambda: tmp_path / "cache")
    written = _evaluate(tmp_path, train[:30], new[:30])
    assert read_evaluation(tmp_path / "out") == written
    assert written.figures == written.rows[GIVEN]
    assert written.primary == "random/kid_held_out"
    assert (written.train_images, written.held_out_images, written.samples) == (30, 30, 30)
    assert written.orientation["is_free"]
    assert set(written.rows) == {GIVEN, REAL_HALF, COPIES, TURNED, MEAN, NOISE}
    assert all(row.keys() >= OF_MODES for row in written.rows.values())
    clusters = written.modes["count"]
    assert written.rows[MEAN]["modes_covered"] == 1 / clusters < written.rows[COPIES]["modes_covered"]
    assert written.rows[MEAN]["modes_divergence"] > 1 > written.rows[COPIES]["modes_divergence"]
    assert "(random; distances over 144 turns)" in (tmp_path / "log.txt").read_text()
    path = tmp_path / "out" / judge.FILE
    for text, message in (
        (path.read_text().replace('"format": 3', '"format": 2'), "format=2: expected 3. Evaluate the run again."),
        (path.read_text().replace('"samples": 30', '"samples": "30"'), "samples"),
        (path.read_text()[:-20], "evaluation.json"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=r"evaluation\.json") as error:
            read_evaluation(tmp_path / "out")
        assert message in str(error.value)
        path.write_text(text)


def test_of_many_images_evenly_spread_ones_are_used_and_the_note_says_so(
    tmp_path: Path, train: np.ndarray, new: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(judge, "MOST_REAL", 10)
    part = _evaluate(tmp_path, train[:30], new[:20])
    assert (
        part.note
        == "Figures are against 10 of the 30 training images, spread evenly over the set: copies of the others go unseen."
    )
    monkeypatch.setattr(judge, "MOST_REAL", 1000)
    alone = _evaluate(tmp_path, train[:30:3], new[:20:2])
    assert (alone.note, alone.train_images, alone.held_out_images) == ("", 10, 10)
    assert part.rows[REAL_HALF] == alone.rows[REAL_HALF]
    assert part.real == alone.real


def test_too_few_images_are_refused(tmp_path: Path, train: np.ndarray, new: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"^data\.path=x: expected at least 8 images, got 7\. Fewer measure nothing\.$"):
        _evaluate(tmp_path, train[:7], new[:10])


def test_images_that_are_all_alike_are_refused(tmp_path: Path, train: np.ndarray, new: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"^data\.path=x: expected images that differ, got 9 that are all alike\. Add other"):
        _evaluate(tmp_path, train[:1].repeat(9, axis=0), new[:3])


def test_features_that_are_the_same_for_all_images_are_refused(tmp_path: Path, train: np.ndarray, new: np.ndarray) -> None:
    (tmp_path / "mine.py").write_text("import numpy as np\ndef f(images): return np.ones((len(images), 3))")
    with pytest.raises(UserError, match=r"^features=mine\.f: expected features that differ .* for all 9 training images\."):
        _evaluate(tmp_path, train[:9], new[:3], names=(f"{tmp_path / 'mine.py'}:f",))


def test_measures_that_are_not_defined_on_equal_images_are_missing(reference: Reference, train: np.ndarray, rows: Rows) -> None:
    alike = replace(reference, train=train[:1].repeat(4, axis=0))  # As one half of a folder with many copies may be.
    found = measure_images(train[1:5], alike)
    missing = {"random/diversity", *asdict(measure_memorisation(*np.ones((3, 4, 4)))).keys()}
    assert set(rows["perfect"]) - set(found) == missing
    assert all(np.isfinite(value) for value in found.values())
    assert not missing & set(measures_that_copies_pass({REAL_HALF: found, COPIES: rows[COPIES]}, reference.real_row))


def test_every_measure_is_defined_on_images_of_the_least_side() -> None:
    images = emblem_dataset(size=LEAST_SIDE, channels=3).preview(12)
    spaces = make_spaces(["pixels", "aligned", "random"], train_u8=images[:8], turns=UNTURNED)
    row = measure_images(images[4:], Reference(images[:8], images[8:], spaces, UNTURNED))
    assert len(row) == sum(len(spaces) if measure.in_space else 1 for measure in MEASURES) - len(OF_MODES)
    assert all(np.isfinite(value) for value in row.values())


def test_soft_images_of_the_reference_are_those_of_the_training_images(reference: Reference, train: np.ndarray) -> None:
    assert np.array_equal(reference.soft_train, soften(train))
    assert reference.unseen_to_train is not None
    assert reference.unseen_to_train.shape == (20, COUNT)
    assert np.diag(reference.train_to_train).max() == 0


def test_the_guide_explains_every_measure_under_the_label_of_the_table() -> None:
    guide = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    table = guide[guide.index("| column | key | better | what it is |") :].split("\n\n")[0]
    found = [tuple(cell.strip() for cell in line.strip("|").split("|")[:3]) for line in table.splitlines()[2:]]
    expected = [(m.label, f"`{m.key}`", m.better or "–") for m in MEASURES if not m.key.endswith("_error")]
    assert found == expected
