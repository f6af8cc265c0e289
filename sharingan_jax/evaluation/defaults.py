"""What an evaluation takes if nothing else is asked for, and how long. Importing this needs no other package, so --help can."""

from collections.abc import Sequence

ALWAYS = ("pixels", "aligned", "random", "gradients")
"""The feature spaces that need no weights."""
SAMPLES = 5000
PROJECTION_STARTS, PROJECTION_STEPS, PROJECTION_SAMPLES = 4, 300, 1000
"""Of a projection: latents to descend from, steps from each, and random samples that they are chosen from."""

CONTROLS, CONTROL_IMAGES = 5, 1000
"""Rows of controls, and how many images each has."""
CONTROL_SECONDS, SAMPLE_SECONDS, INCEPTION_SECONDS = 10.0, 0.0015, 0.2
"""Measured on two cores: for all controls and for a sample in one feature space, and for an image through FID's Inception."""


def evaluation_seconds(spaces: Sequence[str], *, samples: int, sets: int) -> float:
    """Return roughly how many seconds it takes on two cores to evaluate `sets` sets of `samples` images, with the controls."""
    images = sets * samples
    seconds = (CONTROL_SECONDS + SAMPLE_SECONDS * images) * len(spaces)
    if any(name.partition(":")[0] == "inception" for name in spaces):
        seconds += INCEPTION_SECONDS * (images + CONTROLS * CONTROL_IMAGES)
    return seconds
