"""`sharingan-jax project`: find the latents of real images, and how near a run's images come to them."""

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.evaluation.defaults import PROJECTION_SAMPLES, PROJECTION_STARTS, PROJECTION_STEPS

DESCRIPTION = """\
Find the latents from which a run's generator makes given real images, as nearly
as it can.

  {prog} project --workdir RUN --images DIR --out NEW
  {prog} project --workdir RUN --images eye.png --out NEW

Of random samples the nearest to each image are taken, and from each of them the
latent descends by gradients. The distance is the mean squared difference of
pixels, from -1 to 1, and of a fixed random network's layers. It is printed next
to that of the nearest sample, and those of four training images. The folder
gets projection.png (each image above its projection), projection.json and
latents.npy. To draw from these latents:

  {prog} sample --workdir RUN --latents NEW/latents.npy \\
    --statistics running --out grid.png
"""


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("project", description=DESCRIPTION)
    parser.add_path("--workdir", required=True, metavar="DIR", help="the run's folder")
    images = "an image, or a folder, an archive or an array of images"
    parser.add_path("--images", required=True, metavar="PATH", help=images)
    parser.add_path("--out", required=True, metavar="DIR", help="the folder to write, new or empty")
    parser.add_whole_number("--step", metavar="N", help="the checkpoint to use; default: the last")
    parser.add_argument("--weights", choices=("raw", "averaged"), help="default: averaged, if the run keeps an average")
    parser.add_whole_number("--seed", metavar="S", help="seed of the random samples; default: 0")
    parser.add_whole_number("--samples", metavar="N", help=f"random samples; default: {PROJECTION_SAMPLES}")
    parser.add_whole_number("--starts", metavar="R", help=f"samples to descend from; default: {PROJECTION_STARTS}")
    parser.add_whole_number("--steps", metavar="K", help=f"steps of each descent; default: {PROJECTION_STEPS}")
    return parser


def run(arguments: list[str]) -> int:
    """Project and print a line for each image; return the exit code."""
    flags, _ = make_parser().parse(arguments, settings_from="the run in --workdir")
    options = {name: value for name, value in vars(flags).items() if value is not None}

    from sharingan_jax.evaluation.project import describe, project

    print(describe(project(options.pop("workdir"), options.pop("images"), options.pop("out"), **options)))
    return 0
