"""Every file in a run's folder is checked when it is read, and an error names the file and the key."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import contents_of, smoke_config, train_arguments
from faults import FAULTS
from test_diff import ENVIRONMENT, IMAGES

import main
from sharingan_jax.data.dataset import ArrayDataset
from sharingan_jax.errors import UserError
from sharingan_jax.files import hidden_sibling, read_json
from sharingan_jax.gan.metrics import METRIC_NAMES
from sharingan_jax.run.continuation import check_continuation, check_unchanged, read_existing
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.lock import lock_folder
from sharingan_jax.run.manifest import DataSummary, Manifest, Origin, Start, read_data_record, read_manifest, write_manifest
from sharingan_jax.run.metrics import MetricsFile, read_metrics

RECORD = {"step": 1, "epoch": 1, "time": 0.5, **dict.fromkeys(METRIC_NAMES, 0.5)}
DEEP = "[" * 100_000
SAMPLE = {"every": 4, "num": 9, "columns": 3}
MANIFEST = Manifest(
    status="complete", seed=0, step=4, total_steps=4, config={}, config_digest="cc", data=DataSummary("folder", 3, "aa", 0, 0, 0),
    starts=(Start(0, ENVIRONMENT, SAMPLE),), origin=Origin(0, "cd", {"G.pth": "ab"}), digest="dd",
    images_seen=12, wall_seconds=1.5,
)  # fmt: skip


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.json", MANIFEST)
    assert read_manifest(tmp_path / "manifest.json") == MANIFEST


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("data", []),
        ("data.digest", 5),
        ("data.count", "x"),
        ("starts", 5),
        ("starts[0]", 5),
        ("starts[0].after_step", None),
        ("starts[0].environment.device", 5),
        ("starts[0].environment.device.count", "x"),
        ("starts[0].environment.versions.jax", 5),
        ("starts[0].sample.num", -1),
        ("starts[0].sample.columns", 0),
        ("origin", "x"),
        ("origin.step", "x"),
        ("origin.files.G.pth", 5),
        ("digest", 5),
        ("step", "x"),
        ("step", True),
        ("config", 5),
        ("wall_seconds", "long"),
    ],
)
def test_a_manifest_with_a_wrong_value_is_refused_by_key(part: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    manifest = json.loads(json.dumps(asdict(MANIFEST)))
    place: Any = manifest
    *parents, last = part.replace("[0]", ".0").replace("G.pth", "G/pth").split(".")
    for name in parents:
        place = place[int(name)] if name.isdigit() else place[name]
    place[int(last) if last.isdigit() else last.replace("/", ".")] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError) as refusal:
        read_manifest(path)
    assert str(refusal.value).startswith(f"{path}: {part}: expected ")
    assert "put the file back as it was" in str(refusal.value)


@pytest.mark.parametrize("name", ["status", "step", "config"])
def test_a_manifest_without_a_key_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    manifest = {key: value for key, value in asdict(MANIFEST).items() if key != name}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=rf"manifest\.json: {name} is missing; put the file back as it was"):
        read_manifest(tmp_path / "manifest.json")


@pytest.mark.parametrize("read", [read_manifest, read_data_record])
def test_a_file_of_another_format_is_refused(read: Any, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text(json.dumps({**asdict(MANIFEST), **asdict(IMAGES), "format": 7}))
    with pytest.raises(UserError, match=r"file\.json: format=7: expected 4\."):
        read(tmp_path / "file.json")


def test_a_start_in_the_same_environment_is_merged_and_one_that_repeats_steps_replaces_later_ones(tmp_path: Path) -> None:
    other = Start(6, ENVIRONMENT.__class__(**{**vars(ENVIRONMENT), "host_threads": 4}), SAMPLE)
    both = MANIFEST.with_start(Start(4, ENVIRONMENT, SAMPLE)).with_start(other)
    assert [start.after_step for start in both.starts] == [0, 6]
    assert [start.after_step for start in both.with_start(Start(3, ENVIRONMENT, SAMPLE)).starts] == [0]


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 1}',
        json.dumps(RECORD)[:-1] + ', "loss_d": 9}',
        json.dumps({**RECORD, "loss_d": "x"}),
        json.dumps({**RECORD, "step": "1"}),
        "[]",
        DEEP,
        '{"step": NaN}',
    ],
)
def test_a_damaged_line_is_named(line: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    whole = json.dumps(RECORD)
    run.metrics.write_text(f"{whole}\n{line}\n{whole}\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: .*; put the file back as it was"):
        read_metrics(run)
    run.metrics.write_text(f"{whole}\n{json.dumps({**RECORD, 'loss_g': None})}\n{line[:5]}")
    assert [record["loss_g"] for record in read_metrics(run)] == [0.5, None]  # A truncated last line is ignored.


def _record(step: int) -> dict[str, Any]:
    return {**RECORD, "step": step}


def _replace(path: Path) -> None:
    path.with_name("new").write_text("")
    path.with_name("new").replace(path)


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.replace(path.with_name("other")), _replace])
def test_metrics_that_are_deleted_or_replaced_while_a_run_trains_are_written_again(lose: Any, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with MetricsFile(folder) as metrics:
        assert not metrics.append([_record(1), _record(2)])
        lose(folder.metrics)
        assert metrics.append([_record(3)])
        assert not metrics.append([_record(4)])
    assert read_metrics(folder) == [_record(step) for step in (1, 2, 3, 4)]


@pytest.mark.parametrize("content", [b"", b"x" * 10_000])
def test_metrics_that_are_changed_while_a_run_trains_stop_it(content: bytes, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with MetricsFile(folder) as metrics:
        metrics.append([_record(1)])
        folder.metrics.write_bytes(content)
        with pytest.raises(UserError, match=r"metrics\.jsonl: expected \d+ bytes, got \d+: another program has changed it"):
            metrics.append([_record(2)])
    assert folder.metrics.read_bytes() == content


def test_json_of_absurd_depth_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text(DEEP)
    with pytest.raises(UserError, match=r"deep\.json: not readable as JSON"):
        read_json(tmp_path / "deep.json")


def test_the_lock_does_not_follow_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(precious)
    with pytest.raises(OSError, match=r"\.lock"), lock_folder(RunFolder(tmp_path / "run")):
        pass
    assert precious.read_text() == "precious"


def test_a_start_removes_the_files_that_a_killed_one_was_writing(tmp_path: Path) -> None:
    assert FAULTS["abandoned"].seen == ""
    (tmp_path / "samples").mkdir()
    left = [hidden_sibling(tmp_path / "manifest.json"), hidden_sibling(tmp_path / "samples" / "step_000004.png")]
    kept = [tmp_path / ".notes.txt", tmp_path / "manifest.json", tmp_path / ".lock"]
    for path in (*left, *kept):
        path.write_text("half")
    with lock_folder(RunFolder(tmp_path)):
        assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_a_run_folder_inside_the_image_folder_is_refused(tmp_path: Path) -> None:
    config = smoke_config(data__source="folder", data__path=str(tmp_path))
    dataset = ArrayDataset(images=np.zeros((1, 32, 32, 3), np.uint8), names=("a.png",), digests=("0" * 64,))
    with pytest.raises(UserError, match=r"lies inside data\.path=.*; use a folder outside it"):
        check_continuation(read_existing(RunFolder(tmp_path / "runs" / "one")), config, dataset)
    check_continuation(read_existing(RunFolder(tmp_path.parent / "elsewhere")), config, dataset)


def test_a_start_reads_each_file_of_a_run_once(
    image_folder: Path, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    workdir = tmp_path / "run"
    shutil.copytree(whole_run, workdir)
    read: Counter[str] = Counter()
    read_text, read_bytes = Path.read_text, Path.read_bytes

    def counted(path: Path, read_it: Any, *args: Any, **kwargs: Any) -> Any:
        if path.parent == workdir:
            read[path.name] += 1
        return read_it(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", lambda path, *args, **kwargs: counted(path, read_text, *args, **kwargs))
    monkeypatch.setattr(Path, "read_bytes", lambda path, *args, **kwargs: counted(path, read_bytes, *args, **kwargs))
    assert main.main(train_arguments(image_folder, workdir, "--dry-run")) == 0
    assert read == {"config.json": 1, "manifest.json": 1, "data.json": 1}
    assert contents_of(workdir) == contents_of(whole_run)


def test_a_folder_in_which_another_start_has_trained_since_it_was_read_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    new = read_existing(folder)
    check_unchanged(new)
    folder.manifest.write_text("{}")
    with pytest.raises(UserError, match="another start has trained in it since"):
        check_unchanged(new)
