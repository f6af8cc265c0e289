"""Crisp, varied images from a hundred, with turned images and averaged weights.

    python main.py --config crisp --config.data.path=my_images

Time: 6000 steps, about 25 minutes on two CPU cores.
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("default")
    config.data.turns = 24
    config.data.mirrors = True
    config.model.nz = 32
    config.model.disc.width = 32
    config.model.disc.arch = "dcgan_full"
    config.model.gen.norm = "pixel"
    config.model.gen.spectral_norm = False
    config.model.disc.spectral_norm = False
    config.model.disc.norm = "none"
    config.model.disc.norm_position = "pre_activation"
    config.model.disc.init = "he"
    config.model.minibatch_std = True
    config.loss.name = "relativistic"
    config.loss.r1 = 0.05  # for 32 and 64 pixels a side; more pixels, more: see `train --dry-run`
    config.loss.penalty_every = 8
    config.augment.probability = 0.3
    config.augment.brightness = 0.1
    config.augment.saturation = 0.2
    config.augment.contrast = 0.1
    config.augment.shift = 0.1
    config.augment.cutout = 0.3
    config.train.steps = 6_000
    config.train.ema_half_life = 50_000
    config.train.ema_ramp_up = 0.2  # so the half-life is 30,000 images at step 6000
    for adam in (config.optim.gen, config.optim.disc):
        adam.lr = 1.6e-3  # eight times the post's; without spectral and batch norm, lower rates learn as much in more steps
        adam.b2 = 0.99
    config.optim.disc.clip_norm = 0.0
    config.sample.every = 500
    config.checkpoint.every = 1000
    return config
