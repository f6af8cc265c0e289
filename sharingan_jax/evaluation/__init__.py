"""How good, how varied and how new a generator's images are: feature spaces, controls, and the report on one run.

The measures themselves are pure functions in `measures/`."""
