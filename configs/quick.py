"""A first look: emblems of 32 pixels from small networks, in about a minute.

    python main.py --config quick

Time: 2400 steps, 100 s on two CPU cores from start to end, compiling included; 70 s at the next start, with the kept program.

240 epochs in batches of 10, with learning rates that fall to 0. Expect red irises on white with black motifs around a pupil, some
blurred (seeds 0 to 2 were looked at).
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("default")
    config.data.size = 32
    config.model.gen.width = 32
    config.model.disc.width = 32
    # With spectral norm the motifs of two seeds in three stay specks at this size and length.
    config.model.gen.spectral_norm = False
    config.model.disc.spectral_norm = False
    config.train.batch_size = 10  # cheaper steps than 25, so more of them fit into a minute
    config.train.steps = 2400
    config.optim.gen.lr = 3e-4
    for adam in (config.optim.gen, config.optim.disc):
        adam.schedule = "linear"  # down to end_lr, which is 0
        adam.decay_steps = 2400
    config.sample.every = 200
    config.checkpoint.every = 400
    config.log.every = 100
    return config
