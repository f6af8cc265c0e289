"""`sharingan-jax sample`: draw images from a trained run, as a grid, a folder, an array or an animation."""

from typing import TYPE_CHECKING, Any

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.errors import UserError, counted

if TYPE_CHECKING:
    from sharingan_jax.run.sampling import Sampler

DESCRIPTION = """\
Draw images from a trained run. The name in --out decides the format: a grid
(.png, .jpg), one file per image (a folder, or any name that ends in /), float32
[N, H, W, C] in [-1, 1] (.npy), or a walk from latent to latent (.gif, .mp4).

  {prog} sample --workdir RUN --out grid.png
  {prog} sample --workdir RUN --num 500 --out images.npy
  {prog} sample --workdir RUN --num 6 --out walk.gif
  {prog} sample --workdir RUN --between 0,1,2,3 --out grid.png
  {prog} sample --workdir RUN --weights both --out grid.png
  {prog} sample --workdir RUN --class star --out grid.png

A run with model.classes makes images of each class in turn, or of one --class.

Batch norm uses the statistics of the images drawn together, as the original
does, so each sample depends slightly on the others in its batch. With
--statistics running it uses the averages kept in training, and each sample
stands alone; this is the default with --class. The run does not change.

--truncation takes latents from a normal distribution that ends at -PSI and PSI:
less variety, and in some networks clearer images. Where G has batch norm, its
batch statistics undo most of this, and running statistics do not fit it. Pixel
norm, as in quick and crisp, undoes most of it too.

A grid's contrast is stretched over all of its images, as in the original. The
files of a folder, walks and a single image (--num 1) are not stretched: their
values -1 and 1 are black and white.
"""


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("sample", description=DESCRIPTION)
    source = parser.add_mutually_exclusive_group(required=True)
    parser.add_path("--workdir", to=source, metavar="DIR", help="the run's folder")
    parser.add_path("--model", to=source, metavar="FILE", help="or a file from `export --format stablehlo`")
    kinds = "grid.png, grid.jpg, walk.gif, walk.mp4, images.npy, or a folder/"
    parser.add_path("--out", kind=str, required=True, metavar="PATH", help=kinds)
    parser.add_argument("--step", type=int, metavar="N", help="the checkpoint to use; default: the last")
    parser.add_argument("--num", type=int, metavar="N", help="images, or latents to walk between; default: 25, walks 6")
    parser.add_argument("--seed", type=int, metavar="S", help="seed of the latents; default: 0")
    parser.add_path("--latents", metavar="FILE", help="use the latents [N, nz] in this .npy, .npz or .pt file")
    parser.add_argument("--truncation", type=float, metavar="PSI", help="keep each number of the latents in [-PSI, PSI]")
    between = "a grid of latents between four, by index from 0, at its corners; default: 7 rows and columns"
    of_class = "the class of all images, by name or number; default: each in turn"
    parser.add_argument("--class", dest="label", metavar="CLASS", help=of_class)
    parser.add_argument("--between", type=read_corners, metavar="A,B,C,D", help=between)
    parser.add_argument("--columns", type=int, metavar="N", help="images in a row of grid.png; default: as the run's grids")
    parser.add_argument("--scale", type=int, metavar="N", help="enlarge a grid or a folder's images 2 or 4 times, pixel by pixel")
    parser.add_argument("--overwrite", action="store_true", help="replace the numbered images in a folder")
    parser.add_argument("--interpolate", action="store_true", help="walk from latent to latent in any format")
    parser.add_argument("--statistics", choices=("batch", "running"), help="of batch norm; default: batch; with --class running")
    parser.add_argument(
        "--weights",
        choices=("raw", "averaged", "both"),
        help="as trained, averaged, or both side by side; default: averaged, if kept",
    )
    return parser


def read_corners(text: str) -> tuple[int, ...]:
    """Return four indices that were written with commas. Raise UserError."""
    words = [word.strip() for word in text.split(",")]
    if len(words) != 4 or not all(word.isdecimal() for word in words):
        raise UserError(f"--between={text}: expected four indices of latents with commas between them. Use --between=0,1,2,3.")
    return tuple(map(int, words))


def run(arguments: list[str]) -> int:
    """Draw and write; return the exit code."""
    flags, _ = make_parser().parse(arguments, settings_from="the run in --workdir")
    options = {name: value for name, value in vars(flags).items() if value is not None}

    from sharingan_jax.run.sample import sample

    source = _load_model(options) if "model" in options else options.pop("workdir")
    drawn = sample(source, **options)

    from sharingan_jax.run.sampling import (  # This imports JAX, so it comes after `sample` has found it a cache.
        GROUP,
        default_statistics,
    )

    if drawn.groups > 1 and (flags.statistics or default_statistics(flags.label)) == "batch":
        print(f"{drawn.count} images, drawn in groups of at most {GROUP}: each group has batch statistics of its own")
    print(f"{counted(drawn.count, 'image')} of {drawn.origin} in {drawn.path}")
    return 0


def _load_model(options: dict[str, Any]) -> "Sampler":
    for name in ("step", "statistics", "weights"):
        if name in options:
            raise UserError(
                f"--{name}: goes with --workdir. The file in --model has one step and one kind of weights and statistics."
            )
    from sharingan_jax.devices.compile_cache import keep_compiled

    keep_compiled()
    from sharingan_jax.interop.stablehlo import load_sampler

    return load_sampler(options.pop("model"))
