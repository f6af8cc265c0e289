"""`sharingan-jax evaluate`: measure quality, diversity and copying of a run's images, or of any folder's."""

from typing import TYPE_CHECKING

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.defaults import ALWAYS, SAMPLES

if TYPE_CHECKING:
    from sharingan_jax.evaluation.judge import Evaluation

DESCRIPTION = """\
Measure a run's images: how near they are to real ones, how varied, and whether
they are copies. Each figure stands next to controls: real images, exact copies,
turned copies with light noise, the mean image, noise.

  {prog} evaluate --workdir RUN
  {prog} evaluate --workdir RUN --step all
  {prog} evaluate --workdir RUN --features gradients,inception
  {prog} evaluate --workdir RUN --features gradients,my.py:f
  {prog} evaluate --images FOLDER --reference FOLDER

The last one takes images from any other tool; --reference are the images that
they were made from. Results go to RUN/evaluation/step_NNNNNN: evaluation.json,
neighbours.png and distances.png.

Feature spaces: pixels, aligned, random and gradients need nothing. inception
is FID's network; its weights (96 MB) are fetched once, or read with
inception:WEIGHTS.pth. FILE.py:FUNCTION is your own: it takes uint8 [N, H, W, 3]
and returns numbers [N, D].
"""

SHOWN = (
    "kid_held_out",
    "kid_train",
    "precision",
    "recall",
    "density",
    "coverage",
    "clipped_density",
    "clipped_coverage",
    "diversity",
    "frechet_train",
)
LOOKS = 5
"""The first measures without a feature space, which say how images look. The others are of modes and of copying."""


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("evaluate", description=DESCRIPTION)
    source = parser.add_mutually_exclusive_group(required=True)
    parser.add_path("--workdir", to=source, metavar="DIR", help="the run's folder")
    parser.add_path("--images", to=source, metavar="DIR", help="or a folder of generated images")
    parser.add_path("--reference", metavar="DIR", help="with --images: the real images, or emblems")
    parser.add_path("--held-out", metavar="DIR", help="with --images: real images that were not trained on")
    parser.add_whole_number("--size", metavar="N", help="with --images: pixels a side, at least 11; default: 64")
    parser.add_argument("--step", metavar="N", help="a checkpoint's step, last, best or all; default: last")
    parser.add_argument("--features", metavar="LIST", help=f"feature spaces; default: {','.join(ALWAYS)}")
    parser.add_whole_number("--samples", metavar="N", help=f"images to draw; default: {SAMPLES}")
    parser.add_path("--out", metavar="DIR", help="folder of the results; default: RUN/evaluation")
    return parser


def run(arguments: list[str]) -> int:
    """Evaluate and print a table; return the exit code."""
    flags, _ = make_parser().parse(arguments, settings_from="the run in --workdir")
    of_images = {"reference": flags.reference, "held_out": flags.held_out, "size": flags.size}
    of_run = {"step": _step(flags.step), "samples": flags.samples}
    given = of_images if flags.images is None else of_run
    for name, value in given.items():
        if value is not None:
            flag, goes_with = f"--{name.replace('_', '-')}", "--images" if flags.images is None else "--workdir"
            raise UserError(f"{flag}: goes with {goes_with}. Remove it.")
    options = {name: value for name, value in (of_run if flags.images is None else of_images).items() if value is not None}
    options |= {"out": flags.out} if flags.out is not None else {}
    options |= {"features": split_features(flags.features)} if flags.features is not None else {}

    from sharingan_jax.evaluation.evaluate import evaluate, evaluate_images

    if flags.images is None:
        found = evaluate(flags.workdir, **options)
    elif flags.reference is None:
        raise UserError(f"--images={flags.images}: expected --reference too. Give the folder of the real images.")
    else:
        found = [evaluate_images(flags.images, options.pop("reference"), **options)]
    for evaluation in found:
        print(describe(evaluation))
    return 0


def _step(text: str | None) -> int | str | None:
    if text is None or text in ("last", "best", "all"):
        return text
    if not text.isdecimal():
        raise UserError(f"--step={text}: expected a number, last, best or all.")
    return int(text)


def split_features(text: str) -> list[str]:
    """Return the names in a list with commas. Raise UserError if one is empty."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UserError(f"--features={text}: expected names with commas between them, such as {','.join(ALWAYS)}.")
    return names


def describe(evaluation: "Evaluation") -> str:
    """Return an evaluation as tables for a terminal: each feature space, then what needs none, then modes and notes."""
    from sharingan_jax.evaluation.judge import AVERAGED, GIVEN, RAW
    from sharingan_jax.evaluation.panel import MEASURES

    own = [name for name in (RAW, AVERAGED, GIVEN) if name in evaluation.rows]
    rows = [*own, *(name for name in evaluation.rows if name not in own)]
    lines = [f"\n{evaluation.subject}: {evaluation.samples} images"]
    for space, described in evaluation.spaces.items():
        columns = [(f"{space}/{measure.key}", measure.label) for measure in MEASURES if measure.key in SHOWN]
        lines += ["", f"{space}: {described}", *_table(evaluation, rows, columns)]
    others = [(measure.key, measure.label) for measure in MEASURES if not measure.in_space]
    for title, columns in (("images", others[:LOOKS]), ("modes and copying", others[LOOKS:])):
        lines += ["", title, *_table(evaluation, rows, columns)]
    if evaluation.real:
        real = ", ".join(f"{key} {value:.3g}" for key, value in evaluation.real.items() if "/" not in key)
        lines += ["", f"real images' own values: {real}; coverage of a perfect sampler: {evaluation.perfect_coverage:.3f}"]
    lines.append(_describe_modes(evaluation.modes))
    if evaluation.copies_win:
        keys = ", ".join(evaluation.copies_win)
        lines.append(f"exact copies look about as good as new real images by: {keys}")
    lines += [f"note: {evaluation.note}"] if evaluation.note else []
    primary, value = evaluation.primary, evaluation.figures.get(evaluation.primary)
    if value is not None:
        error = f"± {evaluation.figures[f'{primary}_error']:.2g} (×10³; ± covers the choice of the real images only)"
        lines.append(f"primary figure: {primary} = {value:.3g} {error}")
    if evaluation.folder:
        lines.append(f"look at {evaluation.folder}: neighbours.png, distances.png, evaluation.json")
    return "\n".join(lines)


def _table(evaluation: "Evaluation", rows: list[str], columns: list[tuple[str, str]]) -> list[str]:
    columns = [(key, label) for key, label in columns if any(key in evaluation.rows[name] for name in rows)]
    first = max(map(len, rows))
    widths = [max(len(label), 8) for _, label in columns]
    lines = [" " * first + "".join(f"  {label:>{width}}" for (_, label), width in zip(columns, widths, strict=True))]
    for name in rows:
        cells = [_number(evaluation.rows[name].get(key)) for key, _ in columns]
        lines.append(f"{name:<{first}}" + "".join(f"  {text:>{width}}" for text, width in zip(cells, widths, strict=True)))
    return lines


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _describe_modes(modes: dict[str, object]) -> str:
    line = f"{modes['kind']}: {modes['covered']} of {modes['count']} covered"
    line += f", entropy {modes['entropy']:.2f} of {modes['real_entropy']:.2f} nats, divergence {modes['divergence']:.3f} nats"
    if modes["accuracy"] is not None:
        line += (
            f"; the classifier's confidence {modes['confidence']:.2f} (real images {modes['real_confidence']:.2f}),"
            f" its accuracy on unseen images {modes['accuracy']:.2f}"
        )
    if modes.get("as_asked") is not None:
        line += f"; {modes['as_asked']:.0%} of the samples are of the class that was asked for"
    return line
