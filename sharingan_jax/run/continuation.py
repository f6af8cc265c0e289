"""Decide whether a start may continue the run in a folder."""

from pathlib import Path

from sharingan_jax.config.schema import Config, identity_changes
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.errors import UserError
from sharingan_jax.run.diff import differing_pictures
from sharingan_jax.run.folder import RunDir, describe_pictures, read_config, read_imported, read_manifest


def check_same_run(run: RunDir, config: Config, pictures: ImageDataset) -> None:
    """Raises UserError, naming keys or files, where `run` began with other settings or pictures; returns where it is new."""
    if run.root.exists() and not run.root.is_dir():
        raise UserError(f"--workdir={run.root} is a file; give the name of a folder")
    if config.data.source == "folder" and run.root.resolve().is_relative_to(Path(config.data.path).resolve()):
        raise UserError(
            f"--workdir={run.root} lies inside data.path={config.data.path}, and its grids would be pictures to train on at the"
            " next start; use a --workdir outside it"
        )
    if not run.config.is_file():
        inside = sorted(path.parent for path in run.root.glob("seed-*/config.json"))
        if inside:
            raise UserError(
                f"--workdir={run.root} holds runs of several seeds; for one of them use --workdir={inside[0]}, for several"
                " train.seeds above 1"
            )
        return
    changed = identity_changes(read_config(run), config)
    if changed:
        raise UserError(
            f"--workdir={run.root} holds another run: {'; '.join(changed)}; use the settings it began with, or another --workdir"
        )
    if run.manifest.is_file():
        data = read_manifest(run.manifest).get("data", {})
        began_with = data.get("fingerprint")
        has_trained = began_with is not None or read_imported(run) is None
        if has_trained and began_with != pictures.digest:
            found = differing_pictures({"data": data}, {"data": describe_pictures(config, pictures)})
            raise UserError(
                f"--workdir={run.root}: the pictures have changed since the run began (first: then, second: now):"
                f" {'; '.join(found)}; put them back, or use another --workdir"
            )
