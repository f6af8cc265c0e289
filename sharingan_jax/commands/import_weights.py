"""`sharingan-jax import`: start a run, or continue one, from PyTorch weights."""

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.config.load import load_config

DESCRIPTION = """\
Make a run's folder from PyTorch files. `sample`, `export` and `train` then
take this folder:

  {prog} import --from FILE --config default --workdir DIR
  {prog} train --config default --workdir DIR

For the PyTorch DCGAN tutorial's files, G.pth and D.pth together, add
--config.model.gen.norm_position=pre_activation and the same for disc.

A file is one of:
- a state dict with the original's names (gen.0.weight_orig), the names of the
  PyTorch DCGAN tutorial (main.0.weight) or bare names (0.weight);
- a training checkpoint: a dict with such state dicts, and Adam's of both
  networks, under any keys.

A generator alone (netG.pth) is enough for `sample`.

With Adam's state the run continues after its last step. Without it the run
starts at step 1 with these weights. Batch norm's counters, which enter no
computation (num_batches_tracked), start from 0.
"""


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("import", description=DESCRIPTION)
    parser.add_path("--from", dest="files", required=True, nargs="+", metavar="FILE", help="PyTorch files")
    parser.add_argument("--config", required=True, metavar="NAME", help="the configuration that the weights belong to")
    parser.add_path("--workdir", required=True, metavar="DIR", help="the run's folder, a new one")
    parser.add_argument("--config.KEY", dest="unused", metavar="VALUE", help="change a setting, as for train")
    return parser


def run(arguments: list[str]) -> int:
    """Import; return the exit code."""
    flags, overrides = make_parser().parse(arguments)
    config = load_config(flags.config, overrides)

    from sharingan_jax.interop.torch_import import import_weights
    from sharingan_jax.run.folder import RunFolder
    from sharingan_jax.run.manifest import read_manifest

    step = int(import_weights(flags.files, config, flags.workdir).step)
    origin = read_manifest(RunFolder(flags.workdir).manifest).origin
    adam = "with Adam's state" if step else "without Adam's state"
    print(f"step {step}, {adam}, in {flags.workdir}; train with this --workdir continues from here")
    if origin and origin.missing:
        print(f"the files hold a generator alone: it can be sampled, and D has the initial weights of seed {config.seed}")
    return 0
