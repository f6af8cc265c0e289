"""SharinGAN's final system: spectral normalisation and clipping, 200 epochs (800 steps of 25), on the 100 embedded emblems.

    python main.py --config configs/default.py

About six minutes on two CPU cores. Every setting there is stands here, once, with its unit and where its value is from;
"post" is the 2020 blog post and its published code. The other files in this folder are this one with named changes.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The settings of a run."""
    config = ConfigDict()
    config.seed = 0  # initial weights, latents, data order: all follow from it

    config.data = data = ConfigDict()
    data.source = "emblems"  # emblems (drawn here, nothing to download), folder, tfds
    data.path = ""  # folder: the folder that holds the pictures, at any depth
    data.name = ""  # tfds: the data set's name, such as "oxford_flowers102"
    data.split = "train"  # tfds: the split, such as "train[:100]"
    data.data_dir = ""  # tfds: where data sets are kept; "" is tensorflow-datasets' own default
    data.size = 64  # pixels a side: 32, 64 or 128 (post: 64)
    data.channels = 3  # 3 RGB, 1 grey (post: 3)
    data.last_batch = "keep"  # an epoch's last, partial batch: keep (post), drop, or fill from the epoch's start

    config.model = model = ConfigDict()
    model.nz = 100  # latent dimensions (post)
    model.ngf = 64  # channels of the generator's last hidden layer (post)
    model.ndf = 64  # channels of the discriminator's first layer (post)
    model.gen_spectral_norm = True  # on all of the generator's layers (post)
    model.disc_spectral_norm = True  # on all of the discriminator's layers but the last (post)
    model.batch_norm = "after"  # the activation (post), or before it (DCGAN)
    model.batch_norm_groups = 1  # parts of a batch with statistics of their own; the post's DataParallel: as many as its devices
    model.convolution = "auto"  # winograd (fastest on a CPU), patches (a GPU), direct (XLA's own, a TPU), auto chooses by backend
    model.dtype = "float32"  # of activations and of what convolutions take: float32 (post), bfloat16; all else is float32

    config.loss = loss = ConfigDict()
    # Non-saturating binary cross-entropy: bce from logits, exact everywhere; bce_clamped as the post's BCELoss computes it from
    # probabilities, which loses the gradient of a picture that D is wrong about with certainty, and with it some runs (post)
    loss.name = "bce"
    loss.beta = 0.0  # weight of the post's "modified D loss", which moves the reported figure and no weight (post: 0.01)

    config.train = train = ConfigDict()
    train.batch_size = 25  # pictures a step (post)
    train.epochs = 200  # passes over the data (post), where train.steps is 0
    train.steps = 0  # steps, where given, decide; 0 leaves it to train.epochs
    train.n_critic = 1  # the generator is updated at every n-th step, the discriminator at each (post: 1)
    train.seeds = 1  # runs, of the seeds from `seed` on, each with a folder of its own
    train.seeds_at_once = 0  # of these in one program; more than 1 rounds otherwise; 0: on a CPU one, elsewhere all
    train.steps_per_call = 10  # steps compiled into one dispatch; more keep an accelerator busier
    train.devices = 0  # devices that share the batch; 0: as many as the run began on, at first as many as the batch divides over
    train.host_threads = 0  # threads of XLA's pool, which enter roundings on a CPU; 0: as many as cores, as the run began with
    train.deterministic = True  # on a GPU: only operations that give the same bits each time; elsewhere they do anyway
    train.precision = "highest"  # of matrix products: highest (true float32), high, default (TPU: bfloat16, GPU: TF32)

    config.optim = optim = ConfigDict()
    for net in ("gen", "disc"):
        optim[net] = adam = ConfigDict()
        adam.lr = 2e-4  # Adam's step size (post, DCGAN)
        adam.b1 = 0.5  # decay of the first moment (post, DCGAN)
        adam.b2 = 0.999  # decay of the second moment (post)
        adam.eps = 1e-8  # added to the root of the second moment (PyTorch)
        adam.clip_norm = 0.0  # largest global gradient norm; 0 does not clip
        adam.schedule = "constant"  # of lr, in updates: constant (post), linear or cosine down to end_lr
        adam.warmup_steps = 0  # updates over which lr rises from 0
        adam.decay_steps = 0  # updates after the warm-up over which a linear or cosine schedule falls
        adam.end_lr = 0.0  # where a linear or cosine schedule ends and stays
    optim.disc.clip_norm = 5.0  # (post)

    config.sample = sample = ConfigDict()
    sample.every = 100  # steps between grids of pictures from fixed latents (post)
    sample.num = 25  # pictures in a grid (post)

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.every = 100  # steps between checkpoints; there is always one at the end
    checkpoint.keep = 3  # how many of the latest stay

    config.log = log = ConfigDict()
    log.every = 25  # steps between lines in a log (post); a terminal gets a progress bar instead
    log.tensorboard = True  # write TensorBoard events

    return config
