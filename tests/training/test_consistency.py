"""A run's files agree with each other, and every edit of one of them is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharingan_jax.data.sources.load import load_dataset_from_config
from sharingan_jax.run.continuation import read_existing
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.training.consistency import contradictions


def _contradictions(run: Path) -> list[str]:
    existing = read_existing(RunFolder(run))
    assert existing.manifest is not None
    assert existing.config is not None
    return contradictions(existing, existing.manifest, existing.config, load_dataset_from_config(existing.config.data))


def _edit(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        value = json.loads((run / name).read_text())
        change(value)
        (run / name).write_text(json.dumps(value))

    return edit


def _manifest(**changes: Any) -> Callable[[Path], None]:
    return _edit("manifest.json", lambda manifest: manifest.update(changes))


def _records(edit: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        lines = (run / "metrics.jsonl").read_text().splitlines()
        (run / "metrics.jsonl").write_text("\n".join([*edit(lines), ""]))

    return change


def _cut(run: Path) -> None:
    whole = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(whole + '{"step": 13, "epo')


def _move(run: Path) -> None:
    (run / "samples" / "step_000008.png").rename(run / "samples" / "step_000099.png")


def test_a_runs_own_files_agree(whole_run: Path, image_folder: Path) -> None:
    assert _contradictions(whole_run) == []
    (image_folder / "more.txt").write_text("not an image either")
    assert _contradictions(whole_run) == []
    (image_folder / "more.txt").unlink()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda run: shutil.rmtree(run / "checkpoints" / "12"), "manifest.json: step: 12 | the step of a checkpoint (4, 8)"),
        (lambda run: (run / "checkpoints" / "999").mkdir(), "checkpoints/999: is not a checkpoint"),
        (_manifest(digest=None), "manifest.json: digest: missing | that of the last state"),
        (_manifest(digest="0" * 64), f"manifest.json: digest: {'0' * 64} | "),
        (_manifest(digest="0" * 64, step=8), "manifest.json: status: complete | stopped"),
        (_manifest(seed=7), "manifest.json: seed: 7 | 0"),
        (_manifest(total_steps=16), "manifest.json: total_steps: 16 | 12"),
        (_manifest(images_seen=7), "manifest.json: images_seen: 7 | 80"),
        (_manifest(status="lost"), "manifest.json: status: lost | one of complete, stopped, collapsed, running, failed"),
        (_manifest(status="stopped"), "manifest.json: status: stopped | complete"),
        (_manifest(config_digest="0" * 64), f"manifest.json: config_digest: {'0' * 64} | "),
        (_manifest(status="running"), "manifest.json: images_seen: 80 | 0"),
        (_manifest(status="failed", images_seen=0), "manifest.json: digest: "),
        (lambda run: (run / "data.json").unlink(), "data.json: missing | the record of 20 images"),
        (_edit("manifest.json", lambda manifest: manifest["data"].update(skipped=7)), "manifest.json: data.skipped: 7 | 1"),
        (_manifest(origin={"step": 4, "digest": "0" * 64, "files": {}}), f"origin.digest: {'0' * 64} | "),
        (lambda run: (run / "samples" / "step_000008.png").write_text("x"), "samples/step_000008.png: is not an image"),
        (
            lambda run: (run / "samples" / "step_000008.png").rename(run / "samples" / "step_000099.png"),
            "step_000099.png: a step",
        ),
        (_cut, "metrics.jsonl: its last line is cut"),
        (_manifest(starts=[]), "manifest.json: starts: after the steps [] | steps from 0 on, in order"),
        (_edit("manifest.json", lambda manifest: manifest["config"]["log"].update(every=77)), "config.log.every: 77 | "),
        (_edit("manifest.json", lambda manifest: manifest["data"].update(count=19)), "manifest.json: data.count: 19 | 20"),
        (_edit("data.json", lambda data: data["files"].update({"07.png": "0" * 64})), f"data.json: files.07.png: {'0' * 64} | "),
        (_records(lambda lines: [*lines[:5], lines[4], *lines[5:]]), "metrics.jsonl: has records that are not in order"),
        (_records(lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]]), "metrics.jsonl: has records that are not in"),
        (_records(lambda lines: lines[:11]), "metrics.jsonl: its last step: 11 | 12"),
    ],
)
def test_every_edit_contradicts_another_file(edit: Callable[[Path], None], message: str, whole_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    edit(run)
    assert any(message in line for line in _contradictions(run)), _contradictions(run)
