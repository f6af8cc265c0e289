"""Which runs of a comparison are at their end, and why some failed: kept in its folder, so that these are not tried again."""

from pathlib import Path
from typing import Any

from sharingan_jax.config.schema import Config
from sharingan_jax.files import read_json, write_json
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.manifest import Manifest, config_digest, read_manifest

STUDY = "study.json"


class Failures:
    """The reasons in `root`/study.json, by run folder below `root`.

    If a run's folder is deleted, or has been trained since, what is recorded of it no longer counts.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        path = root / STUDY
        self._texts: dict[str, str] = read_json(path).get("failures", {}) if path.is_file() else {}

    def get(self, run: Path) -> str:
        """Return why the run in a folder below `root` failed; "" if it did not, or has not been tried."""
        found = manifest_of(run)
        return self._texts.get(run.relative_to(self.root).as_posix(), "") if found and found.status == "failed" else ""

    def add(self, run: Path, text: str) -> None:
        """Record why the run failed: the text up to its first semicolon, since advice and folders may follow."""
        self._texts[run.relative_to(self.root).as_posix()] = text.partition(";")[0]
        content: dict[str, Any] = {"failures": self._texts}
        write_json(self.root / STUDY, content)


def failure_of(run: Path) -> str:
    """Return why a run failed, if it lies in the folder of a comparison that recorded it; else ""."""
    root = next((folder for folder in run.parents if (folder / STUDY).is_file()), None)
    return Failures(root).get(run) if root else ""


def manifest_of(run: Path) -> Manifest | None:
    """Return a run's manifest, or None if there is none."""
    path = RunFolder(run).manifest
    return read_manifest(path) if path.is_file() else None


def is_settled(run: Path, config: Config, failures: Failures) -> bool:
    """Return whether a run is there with these settings, at its end: complete, collapsed, or failed and recorded so."""
    manifest = manifest_of(run)
    if manifest is None or manifest.config_digest != config_digest(config):
        return False
    keys = ["steps", "epochs", *(["stop_on_collapse"] if manifest.status == "collapsed" else [])]
    if any(manifest.config["train"][key] != getattr(config.train, key) for key in keys):
        return False
    return manifest.status in ("complete", "collapsed") or bool(failures.get(run))
