"""What an evaluation takes if nothing else is asked for. Importing this needs no other package, so --help can."""

ALWAYS = ("pixels", "aligned", "random")
"""The feature spaces that need no weights."""
SAMPLES = 5000
