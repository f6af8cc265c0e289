"""`main.py sample`: pictures from a trained run, as a grid, a folder, an array or a film."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.devices.compile_cache import keep_compiled
from sharingan_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from sharingan_jax.run.sampling import Sampler

DESCRIPTION = """\
Draws pictures from a trained run. --out decides what comes: a grid (.png), one file a picture (a folder), float32 [N, H, W, C]
in [-1, 1] (.npy), or a walk from latent to latent (.gif).

  python main.py sample --workdir runs/default/seed-0 --out grid.png
  python main.py sample --workdir runs/default/seed-0 --num 500 --seed 7 --out pictures.npy
  python main.py sample --workdir runs/default/seed-0 --num 6 --out walk.gif

Batch norm uses the statistics of the pictures drawn together, as the original does, so a picture depends a little on its
company; --statistics running uses those kept in training, and each picture stands for itself. Sampling changes no run.

A grid's contrast is stretched over all of its pictures, as in the original. A folder's files, walks, and a single picture
(--num 1) are not stretched: their values -1 and 1 are black and white.
"""

FORMS = (".png", ".npy", ".gif", "")
GROUP = 500  # Pictures drawn at once: at 64 pixels about a gigabyte of activations.
WALK_FRAMES = 12  # Images from one latent to the next: one second of GIF (images.WALK_FPS).


def run(arguments: list[str]) -> int:
    """Draws and writes; returns the exit code."""
    parser = Parser(prog="main.py sample", description=DESCRIPTION)
    whence = parser.add_mutually_exclusive_group(required=True)
    whence.add_argument("--workdir", type=Path, metavar="DIR", help="the run's folder")
    whence.add_argument("--model", type=Path, metavar="FILE", help="or a file that `export --format stablehlo` made, alone")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="grid.png, a folder, pictures.npy or walk.gif")
    parser.add_argument("--step", type=int, metavar="N", help="the checkpoint; default: the last")
    parser.add_argument(
        "--num", type=int, metavar="N", help="how many pictures, or latents to walk between; default: 25, walks 6"
    )
    parser.add_argument("--seed", type=int, metavar="S", help="of the latents; default: 0")
    parser.add_argument("--latents", type=Path, metavar="Z.npy", help="use these latents, [N, nz], in place of drawn ones")
    parser.add_argument("--columns", type=int, metavar="N", help="images in a row of grid.png; default: as the run's grids")
    parser.add_argument(
        "--interpolate", action="store_true", help="walk from latent to latent, in any form of --out; .gif always walks"
    )
    parser.add_argument("--statistics", choices=("batch", "running"), help="of batch norm; default: batch")
    flags, overrides = parser.parse(arguments)
    if overrides:
        raise UserError(f"--config.{overrides[0][0]}: sampling takes its settings from the run in --workdir")
    if flags.out.suffix.lower() not in FORMS:
        raise UserError(f"--out={flags.out}: {flags.out.suffix} is not a form there is; use .png, .npy, .gif, or a folder's name")
    walks = flags.interpolate or flags.out.suffix.lower() == ".gif"
    num = flags.num if flags.num is not None else (6 if walks else 25)
    for name in ("num", "seed"):
        if flags.latents and getattr(flags, name) is not None:
            raise UserError(f"--{name} and --latents are two ways to say the same; give one of them")
    if flags.columns is not None and flags.columns < 1:
        raise UserError(f"--columns={flags.columns}: expected at least 1")
    if flags.columns is not None and flags.out.suffix.lower() != ".png":
        raise UserError(f"--columns={flags.columns}: expected --out=grid.png, got --out={flags.out}. Leave out --columns.")
    if num < 1 + walks:
        raise UserError(f"--num={num} must be at least {1 + walks}" + (": a walk needs two ends" if walks else ""))

    keep_compiled()
    from sharingan_jax.run.sampling import draw_run_latents, read_latents, walk

    sampler = _sampler(flags)
    if flags.latents:
        z = read_latents(flags.latents, nz=sampler.nz)
    else:
        z = draw_run_latents(flags.seed or 0, count=num, nz=sampler.nz)
    if walks and len(z) < 2:
        raise UserError(f"--latents={flags.latents}: holds one latent, and a walk needs two ends")
    if walks:
        z = walk(z, frames=WALK_FRAMES)
    if len(z) > GROUP and flags.statistics != "running":
        print(f"{len(z)} pictures are drawn in groups of at most {GROUP}: batch statistics are each group's own")
    columns = flags.columns or (WALK_FRAMES if walks else sampler.columns)
    _write(flags.out, sampler.draw(z, group=GROUP), columns=columns)
    print(f"{len(z)} pictures of {sampler.origin} in {flags.out}")
    return 0


def _sampler(flags: Namespace) -> "Sampler":
    if flags.model is None:
        from sharingan_jax.run.load import load_run

        return load_run(flags.workdir).sampler(flags.step, statistics=flags.statistics or "batch")
    for name in ("step", "statistics"):
        if getattr(flags, name) is not None:
            raise UserError(f"--{name} goes with --workdir: the file in --model is of one step and one kind of statistics")
    from sharingan_jax.interop.stablehlo import load_sampler

    return load_sampler(flags.model)


def _write(out: Path, fake: "np.ndarray[Any, Any]", *, columns: int) -> None:
    import numpy as np

    from sharingan_jax.files import write_atomically
    from sharingan_jax.reporting.grids import make_grid, save_png, save_walk_gif, to_u8

    match out.suffix.lower():
        case ".npy":
            write_atomically(out, lambda file: np.save(file, fake))
        case ".png":
            save_png(out, make_grid(fake, columns=columns))
        case ".gif":
            save_walk_gif(out, to_u8(fake))
        case "":
            for i, picture in enumerate(to_u8(fake)):
                save_png(out / f"{i:05d}.png", picture)
