"""SharinGAN's published system: spectral normalisation and clipping, on emblems.

    python main.py --config default

Time: 800 steps, 5 to 7 minutes on two CPU cores.

Every setting stands here once, with its unit and the source of its value. "post" is the 2020 blog post and its published code.
The other files in this folder change some of these settings.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = ConfigDict()
    config.seed = 0  # initial weights, latents, data order: all follow from it

    config.data = data = ConfigDict()
    data.source = "emblems"  # emblems (drawn here), folder (what lies at data.path), parquet (the same, only tables), tfds
    data.path = ""  # a folder of images at any depth, a .zip or .tar of them, an array in .npz or .npy, or .parquet files
    data.name = ""  # tfds: the data set's name, such as "oxford_flowers102"
    data.split = "train"  # tfds: the split, such as "train[:100]"; parquet: the name of one
    data.data_dir = ""  # tfds: the folder of its data sets; "" is tensorflow-datasets' own default
    data.size = 64  # pixels a side: 32, 64, 128 or 256 (post: 64)
    data.channels = 3  # 3 RGB, 1 grey, 4 RGB and transparency (post: 3)
    data.fit = "crop"  # how an image becomes square: crop the longer side (post), pad the shorter one, or stretch
    data.filter = "bilinear"  # how it is resized: bilinear (post), box, hamming, bicubic, lanczos, or nearest for pixel art
    data.background = "white"  # the colour below transparent parts and around padded images: a name or #rrggbb
    data.exif = "apply"  # apply turns a photograph as its camera says, and as viewers show it; ignore does not (post)
    data.max_pixels = 250_000_000  # the most pixels of an image before it is resized; a larger one counts as broken
    data.on_bad = "stop"  # images that cannot be read: stop with a list of them, or skip them and record the list
    data.small = "refuse"  # fewer images than train.batch_size: refuse, or ok for batches of all images
    data.last_batch = "keep"  # an epoch's last, partial batch: keep (post), drop, or fill from the epoch's start
    data.turns = 1  # angles at which each image is trained on, evenly spread over the circle; 1: only as it is (post)
    data.mirrors = False  # train on each image's mirror image as well (post: no)
    data.feed = "auto"  # device keeps all images on the device, tfdata gathers batches on the host: the same bits; auto: by size
    data.memory_mb = 1024  # decoded images of a folder up to so many megabytes (2**20 bytes) are held in memory, others in a file
    data.cache = ""  # the folder for such files of decoded images; "" is sharingan_jax/images in the user's cache folder
    data.holdout = 0.0  # share of the images held out from training, chosen by their content; 0 trains on all of them (post)

    config.model = model = ConfigDict()
    model.nz = 100  # latent dimensions (post)
    model.classes = 0  # classes that gen is asked for and disc judges by: the number that the images have; 0: none (post)
    for net in ("gen", "disc"):
        model[net] = network = ConfigDict()
        # 4×4 kernels: dcgan (post); with a 3×3 convolution at the image's side: dcgan_full; gen upsamples and convolves 3×3, disc
        # convolves and pools: dcgan_up; residual blocks: resnet
        network.arch = "dcgan"
        network.width = 64  # channels at half the image side, doubled at each halving down to 4 pixels (post)
        network.norm = "batch"  # between the layers: batch (post), pixel, group, or none, which leaves a bias a channel
        network.norm_position = "post_activation"  # post_activation (post) or pre_activation (DCGAN)
        network.init = "dcgan"  # kernels drawn from N(0, 0.02²): dcgan (post); from N(0, 2 / inputs of an output): he
        network.spectral_norm = True  # on all layers of gen, and on all of disc but its last (post)
    model.minibatch_std = False  # show disc the batch's standard deviation before its last layer (post: no)
    model.minibatch_logit = False  # that deviation gets a logit and a loss of its own, apart from those of images (post: no)
    model.dropout = 0.0  # share of gen's channels set to 0, by the latents, at the sides from 8 to half the image's (post: none)
    # by signs of latents gen also mirrors what it draws: mirror; turns it by quarters: turn; both: square; what data.turns and
    # data.mirrors do: auto; nothing: none (post)
    model.symmetry = "none"
    model.ghost_batches = 1  # equal parts of a batch, each with its own batch norm statistics (post: the number of GPUs)
    model.conv_impl = "auto"  # winograd (fastest on a CPU), patches (on a GPU), direct (XLA's own, on a TPU), auto (by backend)
    model.dtype = "float32"  # of activations and convolution inputs: float32 (post) or bfloat16; everything else is float32

    config.loss = loss = ConfigDict()
    # Non-saturating binary cross-entropy: bce from logits, exact everywhere; bce_clamped as the post's BCELoss computes it from
    # probabilities, which loses the gradient of an image that D is wrong about with certainty, and with it some runs (post)
    # hinge, least_squares and wasserstein score each image; relativistic scores pairs of a real and a generated image
    loss.name = "bce"
    loss.beta = 0.0  # weight of the post's "modified D loss", which changes the reported loss_d and no weight (post: 0.01)
    loss.real_label = 1.0  # bce, least_squares: disc's target for real images, such as 0.9 for label smoothing; 1 (post)
    loss.r1 = 0.0  # γ of R1, γ/2 · ‖gradient of disc at real images‖² (post: none)
    loss.r2 = 0.0  # γ of R2, the same at generated images (post: none)
    loss.gradient_penalty = 0.0  # λ of λ · (‖gradient of disc‖ − 1)² between real and generated images (post: none)
    loss.consistency = 0.0  # weight of the squared change of disc's logits when `augment` changes its images once more
    loss.lecam = 0.0  # weight of the squared distance of disc's logits to the moving mean of those of the other kind
    loss.flip = 0.0  # probability that disc's loss takes a real image for the fake one of its pair (post: none)
    loss.penalty_every = 1  # steps between penalties, each of which then counts this many times

    config.augment = augment = ConfigDict()  # of all images that disc sees, with a gradient to gen; all off (post)
    augment.probability = 1.0  # of each of these changes, for each image
    augment.brightness = 0.0  # largest value added to an image; white is 2 above black
    augment.saturation = 0.0  # largest relative change of the distance to grey
    augment.contrast = 0.0  # largest relative change of the distance to the image's mean
    augment.mirror = False  # left and right exchanged, for half of the images
    augment.rotation = 0.0  # largest angle, in degrees
    augment.scale = 0.0  # largest relative change of size
    augment.shift = 0.0  # largest move, as a share of the side, by whole pixels
    augment.cutout = 0.0  # side of a square that is covered, as a share of the image's
    augment.target = 0.0  # mean sign of disc's logits of real images that steers the probability, such as 0.6; 0: it is fixed
    augment.adapt_images = 500_000.0  # images in which a steered probability can rise from 0 to 1
    augment.noise = 0.0  # standard deviation of noise on every image, at the start
    augment.noise_steps = 0  # steps over which the noise falls to 0; 0: it stays
    augment.fill = 1.0  # value of covered and uncovered pixels: 1 white, -1 black, 0 grey

    config.train = train = ConfigDict()
    train.batch_size = 25  # images a step (post)
    train.epochs = 200  # passes over the data (post), if train.steps is 0
    train.steps = 0  # steps; 0: the number that train.epochs makes
    train.n_critic = 1  # the generator is updated at every n-th step, the discriminator at each (post: 1)
    train.ema_half_life = 0.0  # half-life of gen's averaged weights, in images; 0 keeps no averaged weights (post)
    train.ema_ramp_up = 0.0  # half-life at most this share of the images seen, so that the average forgets the start; 0: no limit
    train.stop_on_collapse = 0  # sample grids in a row without variety or likeness after which a run stops; 0: never (post)
    train.seeds = 1  # runs, of the seeds from `seed` on, each with a folder of its own
    train.stacked_seeds = 0  # seeds trained in one program; above 1 they round differently; 0: one on a CPU, elsewhere all
    train.steps_per_dispatch = 10  # steps in one chunk, compiled together; more keep an accelerator busier
    train.devices = 0  # devices that share the batch; 0: the most that divide it, or the number that the run started on
    train.host_threads = 0  # threads of XLA's CPU pool; their number affects rounding; 0: the cores, or what the run started with
    train.deterministic = True  # on a GPU: only operations that give the same bits each time; a CPU does so anyway
    train.precision = "highest"  # of matrix products: highest (true float32), high, default (TPU: bfloat16, GPU: TF32)

    config.optim = optim = ConfigDict()
    for net in ("gen", "disc"):
        optim[net] = adam = ConfigDict()
        adam.name = "adam"  # adam (post), or sgd with b1 as its momentum
        adam.lr = 2e-4  # Adam's step size (post, DCGAN)
        adam.b1 = 0.5  # decay of the first moment (post, DCGAN)
        adam.b2 = 0.999  # decay of the second moment (post)
        adam.eps = 1e-8  # added to the root of the second moment (PyTorch)
        adam.clip_norm = 0.0  # largest global gradient norm; 0 does not clip
        adam.schedule = "constant"  # of lr, in updates: constant (post), linear or cosine down to end_lr
        adam.warmup_steps = 0  # updates over which lr rises from 0
        adam.decay_steps = 0  # updates after the warm-up over which a linear or cosine schedule falls
        adam.end_lr = 0.0  # the value at which a linear or cosine schedule ends and stays
    optim.disc.clip_norm = 5.0  # (post)

    config.sample = sample = ConfigDict()
    sample.every = 100  # steps between grids of images from fixed latents (post)
    sample.num = 25  # images in a grid (post)
    sample.columns = 5  # images in a row of a grid: 25 make a square (post: 8)

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.every = 100  # steps between checkpoints; there is always one at the end
    checkpoint.keep = 3  # how many of the latest stay
    checkpoint.best = ""  # the checkpoint with the best kid_pixels (lowest) or diversity (nearest to 1) stays too; "": none

    config.log = log = ConfigDict()
    log.every = 25  # steps between lines in a log (post); a terminal gets a progress bar instead
    log.tensorboard = True  # write TensorBoard events

    return config
