"""Settings: their types and rules, how files and overrides become a checked `Config`.

A setting is declared once, in `schema`; `configs/default.py` gives its value, unit and source."""

from sharingan_jax.config.load import base_config

__all__ = ["base_config"]
