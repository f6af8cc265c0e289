"""What an evaluation takes if nothing else is asked for. Importing this needs no other package, so --help can."""

ALWAYS = ("pixels", "aligned", "random", "gradients")
"""The feature spaces that need no weights."""
SAMPLES = 5000
PROJECTION_STARTS, PROJECTION_STEPS, PROJECTION_SAMPLES = 4, 300, 1000
"""Of a projection: latents to descend from, steps from each, and random samples that they are chosen from."""

CONTROLS, CONTROL_IMAGES = 5, 1000
"""Rows of controls, and how many images each has."""
MOST_REAL = 1000
"""Training images, and held-out ones, that others are measured against: the time grows with the square of their number."""
