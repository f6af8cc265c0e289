"""How long an evaluation takes, roughly, before anything is measured."""

from collections.abc import Sequence

from sharingan_jax.data.split import Split
from sharingan_jax.evaluation.defaults import CONTROL_IMAGES, CONTROLS, MOST_REAL
from sharingan_jax.evaluation.measures.neighbours import subsets_of
from sharingan_jax.evaluation.modes import has_to_train
from sharingan_jax.evaluation.panel import MOST_MEMORISED
from sharingan_jax.evaluation.turns import measure_orientation, soften
from sharingan_jax.reporting.grids import lay_on_white

SAMPLE_SECONDS, INCEPTION_SECONDS = 0.0005, 0.2
"""Of a sample in one feature space, and of an image in FID's Inception. These and the next are measured on two cores."""
PAIR_SECONDS, TURNED_SECONDS = 3e-6, 4e-8
"""Of two images that are compared in one feature space as neighbours, and of two whose distance is taken, for each turn."""
CLASSIFIER_SECONDS = 60.0


def estimate_evaluation(split: Split, spaces: Sequence[str], *, samples: int, sets: int) -> float:
    """Return roughly how many seconds it takes to evaluate `sets` sets of `samples` images against the images of a split.

    With the classifier of labelled images, if none is kept. The images are read, since the time depends on whether they may be
    turned.
    """
    chosen = split.train.at_most(MOST_REAL)
    turns = measure_orientation(soften(lay_on_white(chosen.preview(chosen.count)))).turns
    seconds = evaluation_seconds(spaces, samples=samples, sets=sets, real=chosen.count, turns=turns.count)
    return seconds + (CLASSIFIER_SECONDS if has_to_train(chosen, turns) else 0)


def evaluation_seconds(spaces: Sequence[str], *, samples: int, sets: int, real: int, turns: int) -> float:
    """Return roughly how many seconds it takes on two cores to evaluate `sets` sets of `samples` images, with the controls.

    `real` is the number of training images, `turns` the number of turns over which distances are taken.
    """
    rows, images = sets + CONTROLS, sets * samples
    count = min(real, samples)
    neighbours = rows * subsets_of(count) * count**2
    seconds = (SAMPLE_SECONDS * images + PAIR_SECONDS * neighbours) * len(spaces)
    to_train = real + rows * min(samples, MOST_MEMORISED)  # The controls have fewer images, and samples are on a sheet too.
    seconds += TURNED_SECONDS * turns * real * to_train
    if any(name.partition(":")[0] == "inception" for name in spaces):
        seconds += INCEPTION_SECONDS * (images + CONTROLS * CONTROL_IMAGES)
    return seconds
