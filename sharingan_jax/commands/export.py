"""`sharingan-jax export`: write a run's networks, its first steps or its sampler for other programs."""

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.interop.export import ENDINGS, export

DESCRIPTION = """\
Write a run in a format that other programs read:

  {prog} export --workdir RUN --format pytorch --out FILE
  {prog} export --workdir RUN --format trace --out FILE
  {prog} export --workdir RUN --format stablehlo --out FILE

pytorch    both networks as a state dict with the original's names and layouts,
           .safetensors or (with torch) .pth; the names of G begin with `gen.`
trace      the run's first K steps, run again: weights before and after, every
           image, latent and metric, .npz
stablehlo  the sampler for any number of latents, with the weights inside;
           `sample --model FILE` draws from this file alone
"""


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("export", description=DESCRIPTION)
    parser.add_path("--workdir", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--format", choices=tuple(ENDINGS), required=True, help="what to write")
    parser.add_path("--out", required=True, metavar="FILE", help="the file to write")
    parser.add_argument("--step", type=int, metavar="N", help="pytorch, stablehlo: the checkpoint; default: the last")
    parser.add_argument("--steps", type=int, metavar="K", help="trace: number of steps; default: 10")
    parser.add_argument("--statistics", choices=("batch", "running"), help="stablehlo: of batch norm; default: batch")
    weights = "pytorch, stablehlo: of G; default: averaged, if the run keeps an average"
    parser.add_argument("--weights", choices=("raw", "averaged"), help=weights)
    names = ("original", "parametrizations")
    parser.add_argument("--names", choices=names, help="pytorch: of spectral norm's tensors; default: original")
    return parser


def run(arguments: list[str]) -> int:
    """Write the file; return the exit code."""
    flags, _ = make_parser().parse(arguments, settings_from="the run in --workdir")
    written = export(**vars(flags))
    print(written.summary)
    return 0
