"""Draw images from a trained run and write them: a grid, a folder, an array or a walk between latents."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sharingan_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from sharingan_jax.run.sampling import Sampler

FORMATS = (".png", ".npy", ".gif", "")
WALK_FRAMES = 12  # Images from one latent to the next: one second of GIF.


@dataclass(frozen=True)
class Samples:
    """Images float32 [N, H, W, C] in [−1, 1] that were written to `path`, drawn by the generator `origin` from latents [N, nz].

    With batch statistics each of the `groups` has statistics of its own.
    """

    path: Path
    images: "np.ndarray"
    latents: "np.ndarray"
    origin: str
    groups: int


def sample(
    run: "str | Path | Sampler",
    out: str | Path,
    *,
    num: int | None = None,
    seed: int | None = None,
    latents: str | Path | None = None,
    columns: int | None = None,
    interpolate: bool = False,
    step: int | None = None,
    statistics: Literal["batch", "running"] = "batch",
) -> Samples:
    """Draw images from a run's folder, or from a loaded sampler, and write them to `out`. The run does not change.

    The name of `out` decides the format: a grid (.png), one file per image (a folder), float32 [N, H, W, C] in [−1, 1] (.npy)
    or a walk from latent to latent (.gif); with `interpolate` every format is such a walk. Draw `num` images (default 25), or
    walk between `num` latents (default 6), of `seed` (default 0), or take the latents [N, nz] of the file `latents`. `columns`
    are the images in a row of a grid (default: those of the run's grids). `step` chooses a checkpoint, by default the last. Raise
    UserError, before anything is drawn, if these contradict each other.
    """
    out = Path(os.path.expanduser(out))
    ending = out.suffix.lower()
    if ending not in FORMATS:
        raise UserError(f"--out={out}: expected .png, .npy, .gif or a folder's name, got {out.suffix}")
    walks = interpolate or ending == ".gif"
    for name, value in (("num", num), ("seed", seed)):
        if latents is not None and value is not None:
            raise UserError(f"--{name} with --latents: expected only one of them. Remove --{name} to use the file's latents.")
    if columns is not None and columns < 1:
        raise UserError(f"--columns={columns}: expected at least 1")
    if columns is not None and ending != ".png":
        raise UserError(f"--columns={columns}: expected --out=grid.png, got --out={out}. Leave out --columns.")
    count = num if num is not None else (6 if walks else 25)
    if count < 1 + walks:
        raise UserError(f"--num={count}: expected at least {1 + walks}{', since a walk needs two ends' if walks else ''}")

    from sharingan_jax.devices.compile_cache import keep_compiled

    keep_compiled()
    import numpy as np

    from sharingan_jax.files import write_atomically
    from sharingan_jax.reporting.grids import make_grid, save_png, save_walk_gif, to_u8
    from sharingan_jax.run.load import load_run
    from sharingan_jax.run.sampling import GROUP, Sampler, draw_run_latents, read_latents, walk

    sampler = run if isinstance(run, Sampler) else load_run(run).sampler(step, statistics=statistics)
    if latents is not None:
        z = read_latents(Path(os.path.expanduser(latents)), nz=sampler.nz)
    else:
        z = draw_run_latents(seed or 0, count=count, nz=sampler.nz)
    if walks:
        if len(z) < 2:
            raise UserError(f"--latents={latents}: expected at least 2 latents, since a walk needs two ends, got 1")
        z = walk(z, frames=WALK_FRAMES)
    images = sampler.draw(z)
    match ending:
        case ".npy":
            write_atomically(out, lambda file: np.save(file, images))
        case ".png":
            save_png(out, make_grid(images, columns=columns or (WALK_FRAMES if walks else sampler.columns)))
        case ".gif":
            save_walk_gif(out, to_u8(images))
        case "":
            for i, image in enumerate(to_u8(images)):
                save_png(out / f"{i:05d}.png", image)
    return Samples(out, images, z, sampler.origin, groups=-(-len(z) // GROUP))
