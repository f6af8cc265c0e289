"""A first look: emblems of 32 pixels from small networks, 240 epochs (2400 steps of 10), with learning rates that fall to 0.

    python main.py --config configs/quick.py

About one minute on two CPU cores, after about 20 seconds of compiling (both estimated, not measured yet on a quiet machine).
Expect red irises on white. Their black motifs are blurred, and with some seeds (2) only specks.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The settings of a run."""
    config = default.get_config()
    config.data.size = 32
    config.model.gen.width = 32
    config.model.disc.width = 32
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
