"""How long an evaluation takes, roughly, before anything is measured."""

import time
from collections.abc import Sequence

import numpy as np

from sharingan_jax.data.split import Split
from sharingan_jax.evaluation.defaults import CONTROL_IMAGES, CONTROLS, MOST_REAL
from sharingan_jax.evaluation.features import FeatureSpace, make_spaces
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
TIMED = 8
"""Images on which a user's feature function is timed."""


def estimate_evaluation(split: Split, spaces: Sequence[str], *, samples: int, sets: int) -> float:
    """Return roughly how many seconds it takes to evaluate `sets` sets of `samples` images against the images of a split.

    With the classifier of labelled images, if none is kept. The images are read, since the time depends on whether they may be
    turned, and users' feature functions are called. Raise UserError if one fails.
    """
    chosen = split.train.at_most(MOST_REAL)
    train = lay_on_white(chosen.preview(chosen.count))
    turns = measure_orientation(soften(train)).turns
    own = own_seconds(make_spaces([name for name in spaces if ".py:" in name], train_u8=train, turns=turns), train)
    seconds = evaluation_seconds(spaces, samples=samples, sets=sets, real=chosen.count, turns=turns.count, own=own)
    return seconds + (CLASSIFIER_SECONDS if has_to_train(chosen, turns) else 0)


def own_seconds(spaces: Sequence[FeatureSpace], images_u8: np.ndarray) -> float:
    """Return the seconds that an image takes in the users' functions among the spaces together.

    Each is timed on the first of the images uint8 [N, H, W, C], after a call that may load and compile. Raise UserError if one
    fails.
    """
    seconds, timed = 0.0, images_u8[:TIMED]
    for space in spaces:
        if space.own:
            space(timed)
            start = time.perf_counter()
            space(timed)
            seconds += (time.perf_counter() - start) / len(timed)
    return seconds


def evaluation_seconds(spaces: Sequence[str], *, samples: int, sets: int, real: int, turns: int, own: float = 0.0) -> float:
    """Return roughly how many seconds it takes on two cores to evaluate `sets` sets of `samples` images, with the controls.

    `real` is the number of training images, `turns` the number of turns over which distances are taken, `own` what `own_seconds`
    returns.
    """
    rows, images = sets + CONTROLS, sets * samples
    count = min(real, samples)
    neighbours = rows * subsets_of(count) * count**2
    seconds = (SAMPLE_SECONDS * images + PAIR_SECONDS * neighbours) * len(spaces)
    to_train = real + rows * min(samples, MOST_MEMORISED)  # The controls have fewer images, and samples are on a sheet too.
    seconds += TURNED_SECONDS * turns * real * to_train
    slow = own + (INCEPTION_SECONDS if any(name.partition(":")[0] == "inception" for name in spaces) else 0)
    return seconds + slow * (real + images + CONTROLS * min(samples, CONTROL_IMAGES))
