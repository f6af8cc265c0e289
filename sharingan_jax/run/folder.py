"""The layout of a run's folder, and its `config.json`."""

from dataclasses import dataclass
from pathlib import Path

from sharingan_jax.config.parse import parse
from sharingan_jax.config.schema import Config, to_dict
from sharingan_jax.errors import UserError
from sharingan_jax.files import read_json, write_json


@dataclass(frozen=True)
class RunFolder:
    """Where everything lies below `root`."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def data(self) -> Path:
        return self.root / "data.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def damaged(self) -> Path:
        """Where damaged checkpoints are moved."""
        return self.root / "damaged"

    @property
    def events(self) -> Path:
        return self.root / "events"

    def sample(self, step: int) -> Path:
        return self.samples / f"step_{step:06d}.png"

    def sample_files(self, last_step: int) -> dict[int, Path]:
        """Return the sample grids of steps up to `last_step`, by step, in order."""
        files = {
            int(path.stem.removeprefix("step_")): path for path in self.samples.glob("step_*.png") if path.stem[5:].isdigit()
        }
        return {step: files[step] for step in sorted(files) if step <= last_step}

    def checkpoint_steps(self) -> tuple[int, ...]:
        """Return the steps that have a finished checkpoint, in order."""
        return tuple(sorted(int(path.name) for path in self.checkpoints.glob("*") if path.name.isdigit()))

    def seed_folders(self) -> tuple[Path, ...]:
        """Return the folders of several seeds' runs that lie in this one, in order."""
        return tuple(sorted(path.parent for path in self.root.glob("seed-*/config.json")))


def read_config(folder: RunFolder) -> Config:
    """Return the configuration that a run was started with. Raises UserError if `folder` is not a run's folder."""
    if not folder.config.is_file():
        raise UserError(
            f"--workdir={folder.root}: no config.json there; a run's folder is made by training with --config and --workdir"
        )
    try:
        return parse(read_json(folder.config))
    except UserError as error:
        message = str(error)
        raise UserError(message if message.startswith(str(folder.config)) else f"{folder.config}: {message}") from None


def write_config(folder: RunFolder, config: Config) -> None:
    """Write `config.json`: every setting as resolved."""
    write_json(folder.config, to_dict(config))
