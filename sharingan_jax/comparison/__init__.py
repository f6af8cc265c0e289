"""Compare configurations over paired seeds: train what is missing, measure, test, report.

It is not called `compare`, so that `sharingan_jax.compare` stays the function."""
