"""Measure sets of images against one reference: the controls once, and then each set. The result is an `Evaluation`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

from sharingan_jax.data.split import Split
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.controls import COPIES, MEAN, NOISE, REAL_HALF, make_controls
from sharingan_jax.evaluation.defaults import ALWAYS, CONTROL_IMAGES, CONTROLS, MOST_REAL
from sharingan_jax.evaluation.estimate import evaluation_seconds, own_seconds
from sharingan_jax.evaluation.features import make_spaces, space_keys
from sharingan_jax.evaluation.measures.memorisation import distinct
from sharingan_jax.evaluation.modes import make_mode_counter
from sharingan_jax.evaluation.panel import MEASURES, Reference, measure_images, parts_of, perfect_coverage, varies
from sharingan_jax.evaluation.sheets import save_distance_plot, save_neighbour_sheet
from sharingan_jax.evaluation.turns import distances, measure_orientation, soften
from sharingan_jax.files import read_as, read_json, write_json
from sharingan_jax.reporting.grids import lay_on_white

RAW, AVERAGED, GIVEN = "samples", "samples, averaged weights", "images"
SHEET_SAMPLES, SHOWN_COPIES = 1000, 200
FEWEST = 8
"""Training images, and images of a folder to evaluate: fewer measure nothing."""
FEWEST_HELD_OUT = 3
"""Held-out images: KID's standard error leaves one of them out, and takes pairs of the others."""
PART_OF_MANY = (
    "Figures are against {most:,} of the {count:,} training images, spread evenly over the set: copies of the others go unseen."
)
OF_MODES = ("modes_covered", "modes_divergence")
"""Copies have the modes of the training images, always. How exactly depends on the number of images, and half of them are few."""
TOLERANCE = 0.05
"""Share of the new real images' value by which copies may be worse and still pass a measure without a standard error."""
FORMAT = 3
FILE = "evaluation.json"


@dataclass(frozen=True)
class Evaluation:
    """The measures of one checkpoint or folder, as `evaluation.json` holds them. `folder` is where everything was written.

    `rows` has a row for the samples (and for those of averaged weights, if the run keeps them), and one for each control.
    `real` are the real images' own values of measures whose best value is theirs. `primary` is the key of the figure that ranks.
    `asked` has the feature spaces that were asked for, each with its `space_key`; `spaces` those that could be used. `copies_win`
    are keys that exact copies pass about as well as new real images do (`measures_that_copies_pass`).
    """

    subject: str
    step: int | None
    digest: str
    samples: int
    asked: dict[str, str]
    train_images: int
    held_out_images: int
    orientation: dict[str, Any]
    spaces: dict[str, str]
    skipped_spaces: dict[str, str]
    primary: str
    rows: dict[str, dict[str, float]]
    real: dict[str, float]
    perfect_coverage: float
    copies_win: tuple[str, ...]
    modes: dict[str, Any]
    note: str
    folder: str = field(default="", compare=False)
    format: int = FORMAT

    @property
    def figures(self) -> dict[str, float]:
        """Return the row to rank a run by: of averaged weights, if the run keeps them, else of the raw ones."""
        return self.rows.get(AVERAGED) or self.rows.get(RAW) or self.rows[GIVEN]


class Judge:
    """Measures sets of images against one reference. The controls are measured once. Use as a context manager.

    `names` are feature spaces, `samples` the number of images of each of the `sets` sets. `place` says where the training images
    are from, as FLAG=VALUE or KEY=VALUE, for errors. The split holds out no image, or at least `FEWEST_HELD_OUT`. Of more than
    `MOST_REAL` training or held-out images, evenly spread ones are used. The attribute `labels` int [N] has the classes of all
    training images, or is None.

    Raise UserError if there are fewer than `FEWEST` training images or if all are alike, or for a wrong feature space.
    """

    def __init__(self, split: Split, names: Sequence[str], *, samples: int, sets: int, stream: TextIO, place: str) -> None:
        if split.train.count < FEWEST:
            raise UserError(f"{place}: expected at least {FEWEST} images, got {split.train.count}. Fewer measure nothing.")
        chosen, unseen = split.train.at_most(MOST_REAL), split.held_out.at_most(MOST_REAL)
        train = lay_on_white(chosen.preview(chosen.count))
        held_out = lay_on_white(unseen.preview(unseen.count)) if unseen.count else None
        part = PART_OF_MANY.format(most=chosen.count, count=split.train.count)
        self._note = part if chosen.count < split.train.count else ""
        self.samples, self.labels = samples, split.train.labels
        self._stream = stream
        self._orientation = measure_orientation(soften(train))
        self._skipped: dict[str, str] = {}
        spaces = []
        for name in dict.fromkeys(names):
            try:
                spaces += make_spaces([name], train_u8=train, turns=self._orientation.turns)
            except UserError as error:
                if not name.startswith("inception"):
                    raise
                self._skipped[name] = str(error)
                self._say(f"{name} is left out: {error}")
        self._asked = space_keys(names)  # Now, since making a space may download its weights.
        if not spaces:
            raise UserError(f"features: none of the feature spaces can be used. Add {', '.join(ALWAYS[:-1])} or {ALWAYS[-1]}.")
        found = [space.name for space in spaces]
        if twice := next((name for name in found if found.count(name) > 1), None):
            raise UserError(f"features={','.join(names)}: two of them are called {twice}. Remove or rename one.")
        self.reference = Reference(train, held_out, spaces, self._orientation.turns, chosen.digest)
        self._controls: dict[str, dict[str, float]] = {}
        self._control_distances: dict[str, np.ndarray] = {}
        self._say(self._announce(sets))
        if len(distinct(self.reference.train_to_train)) < 2:
            raise UserError(f"{place}: expected images that differ, got {len(train)} that are all alike. Add other images.")
        self._modes = make_mode_counter(chosen, train, self.reference.turns, say=self._say)
        shown = hasattr(stream, "isatty") and stream.isatty()
        total = parts_of(self.reference) * (sets + CONTROLS)
        self._bar = tqdm(total=total, unit="part", file=stream, disable=not shown, leave=False, dynamic_ncols=True)

    def _say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def _announce(self, sets: int) -> str:
        spaces = self.reference.spaces
        held_out = 0 if self.reference.held_out is None else len(self.reference.held_out)
        turned = f"distances over {self.reference.turns.count} turns" if self.reference.turns.count > 1 else "distances unturned"
        names = [space.name for space in spaces]
        real, turns = len(self.reference.train), self.reference.turns.count
        own = own_seconds(spaces, self.reference.train)
        seconds = evaluation_seconds(names, samples=self.samples, sets=sets, real=real, turns=turns, own=own)
        return (
            f"evaluating {sets * self.samples:,} images"
            f" against {len(self.reference.train)} training and {held_out} held-out images"
            f" ({', '.join(names)}; {turned}): about {max(1, round(seconds / 60))} min on two cores"
        )

    def __enter__(self) -> "Judge":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _done(self) -> None:
        self._bar.update()

    def _measure_controls(self) -> None:
        for name, (features, _) in self.reference.features.items():
            if not varies(features):
                got = f"expected features that differ between images, got the same for all {len(features)} training images"
                raise UserError(f"features={name}: {got}. Remove or correct it.")
        for control in make_controls(self.reference, count=min(self.samples, CONTROL_IMAGES)):
            self._bar.set_description(control.name)
            row = measure_images(control.images, control.reference, done=self._done)
            self._controls[control.name] = row | self._modes.count(control.images).figures
            if control.name not in (REAL_HALF, COPIES, MEAN, NOISE):
                self._control_distances[control.name] = self._to_train(control.images[:SHOWN_COPIES])

    def judge(
        self,
        rows: Mapping[str, np.ndarray],
        *,
        subject: str,
        step: int | None,
        digest: str,
        note: str,
        folder: Path | None,
        asked: np.ndarray | None = None,
    ) -> Evaluation:
        """Measure each set of images uint8 [F, H, W, C] in `rows`, write the results into `folder`, and return them.

        `asked` are the classes int [F] that a conditional G was asked for.

        Transparent images, here and in the reference, are laid on white: no measure knows transparency. Raise UserError if a
        feature function fails, or returns the same features for all training images.
        """
        rows = {name: lay_on_white(images) for name, images in rows.items()}
        if not self._controls:
            self._measure_controls()
        *_, best = rows.values()  # The averaged weights, if the run keeps them.
        measured, modes = {}, {}
        for name, images in rows.items():
            self._bar.set_description(name)
            modes[name] = self._modes.count(images, asked)
            measured[name] = measure_images(images, self.reference, done=self._done) | modes[name].figures
        *_, modes_of_best = modes.values()
        spaces = {space.name: space.describe for space in self.reference.spaces}
        evaluation = Evaluation(
            subject=subject,
            step=step,
            digest=digest,
            samples=self.samples,
            asked=self._asked,
            train_images=len(self.reference.train),
            held_out_images=0 if self.reference.held_out is None else len(self.reference.held_out),
            orientation=asdict(self._orientation) | {"is_free": self._orientation.is_free},
            spaces=spaces,
            skipped_spaces=self._skipped,
            primary=primary_measure(list(spaces), held_out=self.reference.held_out is not None),
            rows=measured | self._controls,
            real=self.reference.real_row,
            perfect_coverage=perfect_coverage(self.reference, len(best)),
            copies_win=measures_that_copies_pass(self._controls, self.reference.real_row),
            modes=asdict(modes_of_best),
            note=" ".join(filter(None, (note, self._note))),
            folder=str(folder) if folder else "",
        )
        if folder is not None:
            self._write(folder, best, evaluation)
        return evaluation

    def _write(self, folder: Path, images: np.ndarray, evaluation: Evaluation) -> None:
        shown = images[:SHEET_SAMPLES]
        to_train = self._to_train(shown)
        save_neighbour_sheet(folder / "neighbours.png", shown, to_train, self.reference)
        save_distance_plot(folder / "distances.png", to_train, self.reference, self._control_distances)
        # Last: a folder with this file is complete.
        record = {name: value for name, value in asdict(evaluation).items() if name != "folder"}
        write_json(folder / FILE, record)

    def _to_train(self, images_u8: np.ndarray) -> np.ndarray:
        return distances(soften(images_u8), self.reference.soft_train, self.reference.turns)


def primary_measure(spaces: Sequence[str], *, held_out: bool) -> str:
    """Return the key of the figure that ranks: KID against held-out images if there are any, in the best space that is there.

    That is `inception`, else the first feature function of the user's own (their names have a dot), else `gradients`. The random
    network comes last because a generator can satisfy it with speckle (docs/evaluation.md, "Which space without weights?").
    """
    own = (name for name in spaces if "." in name)
    space = next((name for name in ("inception", *own, "gradients", "random") if name in spaces), spaces[0])
    return f"{space}/{'kid_held_out' if held_out else 'kid_train'}"


def measures_that_copies_pass(controls: Mapping[str, Mapping[str, float]], real: Mapping[str, float]) -> tuple[str, ...]:
    """Return the keys of measures by which exact copies look about as good as real images that are new, or better.

    Copies pass a measure if they are worse by at most a tolerance: twice the standard error of the new images' value, if the
    measure has one, else `TOLERANCE` times the size of this value. "Worse" of a measure whose best value is the real images' is
    farther from that value. The new images are one half of the training images, measured against the other half. So they are
    half as many, and measures that depend on the number of images differ a little for this reason alone. Measures of modes
    differ much, so copies always pass those.

    `controls` are measured rows by name; `real` are the real images' own values.
    """
    copies, new = controls[COPIES], controls[REAL_HALF]
    found = []
    for key in (key for key in copies if key in new):  # Some measures are not defined if all images of one half are alike.
        value = copies[key]
        (measure,) = [measure for measure in MEASURES if measure.key == key.rpartition("/")[2]]
        error = new.get(f"{key}_error")
        tolerance = TOLERANCE * abs(new[key]) if error is None else 2 * error
        passed = {
            "lower": value <= new[key] + tolerance,
            "higher": value >= new[key] - tolerance,
            "neither": value >= new[key] - tolerance,
            "real": abs(value - real.get(key, value)) <= abs(new[key] - real.get(key, value)) + tolerance,
            "": False,
        }
        if key in OF_MODES or passed[measure.better]:
            found.append(key)
    return tuple(found)


def read_evaluation(folder: Path) -> Evaluation:
    """Return the evaluation in a folder that `Judge.judge` wrote. Raise UserError naming the file if it cannot be read."""
    path = folder / FILE
    record = read_json(path)
    if record.get("format") != FORMAT:
        raise UserError(f"{path}: format={record.get('format')}: expected {FORMAT}. Evaluate the run again.")
    return replace(read_as(Evaluation, record, path=path), folder=str(folder))
