"""The post's third experiment: spectral normalisation and clipping at 5, 200 epochs (800 steps): the default itself.

    python main.py --config configs/stabilised.py

The post saw clearly more varied motifs than the baseline's.
"""

from configs.default import get_config

__all__ = ["get_config"]
