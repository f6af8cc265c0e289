"""The layout of a run's folder, and its `config.json`."""

from pathlib import Path

from sharingan_jax.config.load import check_one_run, seed_folders
from sharingan_jax.config.parse import parse
from sharingan_jax.config.schema import Config, to_dict
from sharingan_jax.errors import UserError
from sharingan_jax.files import read_json, write_json

CHECKPOINT_FILES = "files.json"
"""In each checkpoint, the SHA-256 of every other file in it. It is written last, so a folder without it is no checkpoint."""


class RunFolder:
    """Where everything lies below `root`. Damaged checkpoints are moved to `damaged`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.json"
        self.manifest = root / "manifest.json"
        self.data = root / "data.json"
        self.metrics = root / "metrics.jsonl"
        self.samples = root / "samples"
        self.checkpoints = root / "checkpoints"
        self.damaged = root / "damaged"
        self.events = root / "events"

    def sample(self, step: int) -> Path:
        return self.samples / f"step_{step:06d}.png"

    def sample_files(self, last_step: int) -> dict[int, Path]:
        """Return the sample grids of steps up to `last_step`, by step."""
        found = ((step_of(path.stem.removeprefix("step_")), path) for path in self.samples.glob("step_*.png"))
        return {step: path for step, path in found if step is not None and step <= last_step and path == self.sample(step)}

    def checkpoint_steps(self) -> tuple[int, ...]:
        """Return the steps that have a finished checkpoint, in order."""
        finished = (path.parent.name for path in self.checkpoints.glob(f"*/{CHECKPOINT_FILES}"))
        return tuple(sorted(step for name in finished if (step := step_of(name)) is not None and name == str(step)))

    def has_state_of(self, step: int) -> bool:
        """Return whether the checkpoint called `step` says that it holds this step: it may have been renamed, or be damaged."""
        try:
            return read_json(self.checkpoints / str(step) / "identity" / "metadata").get("step") == step
        except (UserError, OSError):
            return False

    def seed_folders(self) -> tuple[Path, ...]:
        """Return the folders of several seeds' runs that lie in this one, in order."""
        return seed_folders(self.root)


def step_of(name: str) -> int | None:
    """Return the step that the name of a checkpoint or a grid gives, with or without zeros in front; None if it gives none."""
    return int(name) if name.isascii() and name.isdecimal() else None


def read_config(folder: RunFolder) -> Config:
    """Return the configuration that a run was started with. Raise UserError if `folder` is not a run's folder."""
    if not folder.config.is_file():
        check_one_run(folder.root)
        raise UserError(f"{folder.root}: no config.json there; expected a run's folder, as `train` makes it")
    settings = read_json(folder.config)
    try:
        return parse(settings)
    except UserError as error:
        raise UserError(f"{folder.config}: {error}") from None


def write_config(folder: RunFolder, config: Config) -> None:
    """Write `config.json`: every setting as resolved."""
    write_json(folder.config, to_dict(config))
