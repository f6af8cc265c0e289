"""What to set for a data set, by rules that are stated here. The recipe is `configs/crisp.py`, changed where the data asks."""

import shlex
from typing import Any

from sharingan_jax.config.load import load_config
from sharingan_jax.config.schema import AUGMENTATIONS, Config, settings_of
from sharingan_jax.data.inspect import CUT_SHARE, ENLARGED, DataReport
from sharingan_jax.errors import command_line
from sharingan_jax.evaluation.measures.appearance import LUMA

RECIPE, FIRST_LOOK = "crisp", "quick"
"""The configuration that advice changes, and a shorter one to begin with."""
MEASURED_SIDE = 64
"""The largest side at which the weight of R1 was measured (docs/recipe.md)."""
GREY_BELOW = 0.02
"""Images with a mean saturation below this have no colours to learn. Chosen, not measured."""


def recipe_settings(report: DataReport, config: Config) -> dict[str, Any]:
    """Return the settings in which the recipe for these images differs from `configs/crisp.py`, by dotted key.

    - `data.turns` and `data.mirrors` stay on if such images look as much like the data as before (`DataReport.directions`).
      Turns also need a plain ground, or transparency. Otherwise their corners show.
    - `data.background` and `augment.fill` take the colour of a plain ground, and its luma from −1 to 1. On other
      grounds fill is 0, grey.
    - `train.batch_size` is at most the number of images.
    - `loss.r1` grows with the number of pixels above 64 × 64: see `penalty_weight`.
    - `data.channels` is 1 if 3 were asked for and the images are grey. Then `augment.saturation` is 0, since it changes nothing.
    - `data.on_bad` is "skip" if there are bad files.
    - The other settings of `data` stay as in `config`.
    """
    recipe, here = settings_of(load_config(RECIPE)), settings_of(config)
    found, ground = report.directions, report.colours.ground
    free_turns, free_mirrors = (found.turns_are_free, found.mirrors_are_free) if found else (False, False)
    wanted = {key: value for key, value in here.items() if key.startswith("data.")}
    wanted["data.turns"] = recipe["data.turns"] if free_turns and _can_turn(report) else 1
    wanted["data.mirrors"] = free_mirrors
    if ground.is_plain:
        wanted["data.background"] = colour_name(ground.colour)
    wanted["augment.fill"] = fill_value(ground.colour) if ground.is_plain else 0.0
    wanted["train.batch_size"] = min(recipe["train.batch_size"], report.count)
    wanted["loss.r1"] = penalty_weight(recipe["loss.r1"], size=report.image_shape[0])
    if report.colours.saturation < GREY_BELOW and here["data.channels"] == 3:
        wanted["data.channels"] = 1
    if wanted["data.channels"] == 1:
        wanted["augment.saturation"] = 0.0
    if report.bad:
        wanted["data.on_bad"] = "skip"
    return {key: value for key, value in wanted.items() if value != recipe[key]}


def advise(report: DataReport, config: Config) -> tuple[str, ...]:
    """Return advice on these images, a line for each subject, with settings that can be copied. The last line is a command.

    One image is not enough: then there is nothing else to say.

    The rules are those of `recipe_settings`. Other lines come only if there is a reason: copies, near duplicates, images that are
    enlarged more than 1.5 times, images that lose a quarter of their longer side with `data.fit=crop`, grey images, bad files.
    Batch, steps, and the strength and probability of augmentation are the recipe's own.
    """
    if report.count < 2:
        return ("images: one image is not enough, since a generator would learn to copy it; add others",)
    recipe, first = load_config(RECIPE), load_config(FIRST_LOOK)
    changes = recipe_settings(report, config)
    batch = changes.get("train.batch_size", recipe.train.batch_size)
    each_epoch = -(-report.count // batch)
    few = ", all images, since there are few" if batch < recipe.train.batch_size else ", as in the post"
    steps = f"{recipe.train.steps:,} with {RECIPE} ({recipe.train.steps / each_epoch:,.0f} epochs of these images)"
    lines = [
        f"batch: train.batch_size={batch}{few}",
        f"steps: {steps}; for a first look {first.train.steps:,} with {FIRST_LOOK}, at {first.data.size} pixels",
        f"penalty: loss.r1={changes.get('loss.r1', recipe.loss.r1):g}, {_on_penalty(report.image_shape[0])}",
        _on_directions(report, turns=changes.get("data.turns", recipe.data.turns)),
        _on_ground(report, config),
        _on_augmentation(settings_of(recipe) | changes),
        *_on_files(report, config),
    ]
    if changes.get("data.source") == "folder":
        del changes["data.source"]  # A path alone is enough.
    words = " ".join(f"--config.{key}={_as_word(value)}" for key, value in changes.items())
    return (*lines, f"recipe: {command_line()} train --config {RECIPE} {words}".rstrip())


def penalty_weight(measured: float, *, size: int) -> float:
    """Return γ of R1 for images of `size` pixels a side: the one `measured` at 32 and 64, and above in proportion to the pixels.

    Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", appendix C: γ = 0.0002 · N / M for N
    pixels and batches of M, which is 0.03 at 64 × 64 and 25. No weight was measured above 64 pixels.
    """
    return round(measured * max(1.0, (size / MEASURED_SIDE) ** 2), 4)


def _on_penalty(size: int) -> str:
    if size <= MEASURED_SIDE:
        return "as measured at 32 and 64 pixels; a larger one gave a higher KID"
    return f"from the one measured at {MEASURED_SIDE} pixels, in proportion to the pixels; not measured at {size}"


def _can_turn(report: DataReport) -> bool:
    return report.colours.ground.is_plain or report.image_shape[2] == 4


def _on_directions(report: DataReport, *, turns: int) -> str:
    found = report.directions
    if found is None:
        return "turning: too few different images to measure; data.turns=1, data.mirrors=false"
    measured = (
        f"turned images are {found.turned_ratio:.2f} times as far from the others, mirrored ones {found.mirrored_ratio:.2f}"
    )
    settings = f"data.turns={turns}, data.mirrors={str(found.mirrors_are_free).lower()}"
    if found.turns_are_free and turns == 1:
        return f"turning: free ({measured}), but on a ground that is not plain corners would show; {settings}"
    if found.turns_are_free:
        return f"turning: free ({measured}); {settings}"
    sides = "no left and right" if found.mirrors_are_free else "a left and a right"
    return f"turning: the images have an up and a down and {sides} ({measured}); {settings}"


def _on_ground(report: DataReport, config: Config) -> str:
    ground = report.colours.ground
    share = f"{ground.share:.0%} of the border pixels"
    if not ground.is_plain:
        return f"ground: not plain ({share} have one colour); augment.fill=0, so that uncovered parts are grey"
    background, fill = colour_name(ground.colour), fill_value(ground.colour)
    return f"ground: plain ({share}); data.background={_as_word(background)}, augment.fill={fill:g}"


def _on_augmentation(settings: dict[str, Any]) -> str:
    parts = ", ".join(f"{name} {settings[f'augment.{name}']:g}" for name in AUGMENTATIONS if settings[f"augment.{name}"])
    return f"augmentation: {parts}, each for {settings['augment.probability']:.0%} of the images, as measured on discs"


def _on_files(report: DataReport, config: Config) -> list[str]:
    """Return the lines that only some data sets need."""
    lines, sizes, size = [], report.sizes, config.data.size
    if report.copies:
        lines.append(f"copies: {len(report.copies):,} of {report.count:,} images count more than once; remove the copies")
    if len(report.near_duplicates) > 0:
        pairs = f"{len(report.near_duplicates):,} pairs" if len(report.near_duplicates) > 1 else "1 pair"
        lines.append(f"near duplicates: {pairs}; data.holdout keeps each on one side of the split, so figures stay fair")
    if sizes and sizes.enlarged:
        smaller = next((choice for choice in (128, 64, 32) if choice < size), None)
        instead = f"; data.size={smaller} would blur fewer" if smaller else ""
        lines.append(f"size: {sizes.enlarged:,} of {report.count:,} images are enlarged more than {ENLARGED:g} times{instead}")
    if sizes and sizes.cut and config.data.fit == "crop":
        lost = f"{sizes.cut:,} of {report.count:,} images lose {CUT_SHARE:.0%} or more of their longer side"
        lines.append(f"fit: {lost}; data.fit=pad keeps all of it")
    if report.colours.saturation < GREY_BELOW and report.image_shape[2] == 3:
        lines.append("colour: the images are grey; data.channels=1")
    if report.bad:
        lines.append(f"bad files: {len(report.bad):,} cannot be read; repair or remove them, or data.on_bad=skip")
    return lines


def fill_value(colour: tuple[int, ...]) -> float:
    """Return `augment.fill` for a ground of this colour: 1 for white, −1 for black, else the luma, from −1 to 1."""
    if (name := colour_name(colour)) in ("white", "black"):
        return 1.0 if name == "white" else -1.0
    luma = sum(weight * level for weight, level in zip(LUMA, (colour * 3)[:3], strict=True))
    return round(luma / 127.5 - 1, 2)


def colour_name(colour: tuple[int, ...]) -> str:
    """Return a colour as `data.background` takes it: white or black if it is within 3 levels of it, else #rrggbb."""
    if min(colour) >= 252:
        return "white"
    if max(colour) <= 3:
        return "black"
    return "#" + "".join(f"{level:02x}" for level in (colour * 3)[:3])


def _as_word(value: Any) -> str:
    """Return a setting's value for a shell: booleans in lower case, other texts quoted if they have to be."""
    return (
        str(value).lower() if isinstance(value, bool) else shlex.quote(f"{value:g}" if isinstance(value, float) else str(value))
    )
