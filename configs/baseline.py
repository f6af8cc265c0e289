"""The post's first experiment: no spectral normalisation, no clipping, 200 epochs (800 steps).

    python main.py --config configs/baseline.py

The post saw the patterns of the data, noisy. With --config.loss.name=bce_clamped, its loss to the letter, most runs get stuck
within 300 steps: docs/equivalence.md."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The settings of a run."""
    config = default.get_config()
    config.model.gen.spectral_norm = False
    config.model.disc.spectral_norm = False
    config.optim.disc.clip_norm = 0.0
    return config
