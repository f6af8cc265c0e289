"""The next start uses the compiled programs, they change no bit, and a damaged cache never stops a start."""

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from conftest import ROOT, TINY
from faults import FAULTS

from sharingan_jax.devices import compile_cache
from sharingan_jax.devices.compile_cache import WHOLE, cache_folder, keep_compiled, tidy


def _train(workdir: Path, cache: Path) -> tuple[str, str]:
    """Train in another process, with `cache` as the user's cache folder. Return the digest and stderr."""
    environment = {name: value for name, value in os.environ.items() if "CACHE" not in name}
    command = [sys.executable, str(ROOT / "main.py"), "--config", str(ROOT / "configs" / "smoke.py"), *TINY]
    done = subprocess.run(
        [*command, "--config.train.steps=1", "--config.log.tensorboard=False", "--workdir", str(workdir)],
        capture_output=True, text=True, check=True, env={**environment, "XDG_CACHE_HOME": str(cache)},
    )  # fmt: skip
    return done.stdout.split("digest ")[1].split()[0], done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is Linux's")
@pytest.mark.slow
def test_the_next_start_uses_cached_programs_and_recompiles_a_truncated_one(tmp_path: Path) -> None:
    first, _ = _train(tmp_path / "first", tmp_path / "cache")
    (folder,) = (tmp_path / "cache" / "sharingan_jax").iterdir()
    assert folder.stat().st_mode & 0o77 == 0
    (half,) = folder.glob("jit_run_steps*-cache")
    half.write_bytes(half.read_bytes()[:-1000])
    second, warnings = _train(tmp_path / "second", tmp_path / "cache")
    assert second == first
    assert "cache" not in warnings
    assert compile_cache._is_whole(half.read_bytes(), half.name)


def test_truncated_entries_are_deleted_and_whole_ones_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, half = tmp_path / "a-cache", tmp_path / "b-cache"
    whole.write_bytes(zlib.compress(bytes(10_000)))
    half.write_bytes(zlib.compress(os.urandom(10_000))[:5000])
    (tmp_path / "c-cache").write_bytes(b"")
    tidy(tmp_path)
    (entry,) = json.loads((tmp_path / WHOLE).read_text()).items()
    assert entry[0] == "a-cache"
    assert entry[1][0] == whole.stat().st_size
    assert [path.name for path in tmp_path.glob("*-cache")] == ["a-cache"]
    monkeypatch.setattr(compile_cache, "_is_whole", None)
    tidy(tmp_path)
    assert whole.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"a-cache": 5}', '{"a-cache": [1]}'])
def test_a_list_of_entries_that_is_damaged_is_written_again(content: str, tmp_path: Path) -> None:
    (tmp_path / "a-cache").write_bytes(zlib.compress(bytes(1000)))
    (tmp_path / WHOLE).write_text(content)
    tidy(tmp_path)
    tidy(tmp_path)
    assert (tmp_path / "a-cache").exists()


def test_entries_that_were_exchanged_or_changed_are_deleted(tmp_path: Path) -> None:
    assert FAULTS["programs"].seen == ""
    for age, name in enumerate("abcd"):
        (tmp_path / f"{name}-cache").write_bytes(zlib.compress(os.urandom(1000)))
        os.utime(tmp_path / f"{name}-cache", (1e9 + age, 1e9 + age))
    tidy(tmp_path)
    (tmp_path / "a-cache").rename(tmp_path / "other")
    (tmp_path / "b-cache").rename(tmp_path / "a-cache")
    (tmp_path / "other").rename(tmp_path / "b-cache")
    (tmp_path / "c-cache").touch()  # Copied with another time: the same bytes.
    tidy(tmp_path)
    assert {path.name for path in tmp_path.glob("*-cache")} == {"c-cache", "d-cache"}
    tidy(tmp_path)
    assert {path.name for path in tmp_path.glob("*-cache")} == {"c-cache", "d-cache"}


def test_exchanged_programs_that_were_never_listed_are_known_by_their_names(tmp_path: Path) -> None:
    """After a start that was killed, nothing lists what it compiled."""
    for name, other in (("init_state", "run_steps"), ("run_steps", "init_state"), ("sample", "sample")):
        content = zlib.compress(b"HloModule \0 jit_%s \0" % other.encode() + os.urandom(100))
        (tmp_path / f"jit_{name}-0123abc-cache").write_bytes(content)
    (tmp_path / "jit_opaque-0123abc-cache").write_bytes(zlib.compress(os.urandom(100)))
    tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*-cache")) == ["jit_opaque-0123abc-cache", "jit_sample-0123abc-cache"]


def test_the_least_recently_used_entries_are_deleted_first(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "old", "older")):
        path = tmp_path / f"{name}-cache"
        path.write_bytes(zlib.compress(os.urandom(1000)))
        os.utime(path, (1e9 - age, 1e9 - age))
    tidy(tmp_path, largest=2500)
    assert {path.name for path in tmp_path.glob("*-cache")} == {"new-cache", "old-cache"}


@pytest.fixture
def no_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A JAX that has been imported and keeps nothing."""
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_a_folder_that_the_user_has_named_is_left_to_jax(
    no_folder: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_cache, "cache_folder", lambda: tmp_path)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    keep_compiled()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    jax.config.update("jax_compilation_cache_dir", None)
    keep_compiled()
    assert not list(tmp_path.iterdir())


def test_without_a_cache_folder_nothing_is_kept(no_folder: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(compile_cache, "cache_folder", lambda: tmp_path / "file")
    keep_compiled()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_a_jax_that_has_been_imported_uses_the_folder_too(
    no_folder: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_cache, "cache_folder", lambda: tmp_path)
    keep_compiled()
    assert Path(jax.config.jax_compilation_cache_dir).parent == tmp_path / "sharingan_jax"


def test_the_cache_is_in_the_systems_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/itachi")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == Path("/elsewhere")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/itachi/.cache")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path("/home/itachi/Library/Caches")
