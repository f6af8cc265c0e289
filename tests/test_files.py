"""A failed write leaves the old file unchanged."""

import os
from pathlib import Path

import pytest

from sharingan_jax.errors import UserError
from sharingan_jax.files import hidden_sibling, make_folder, remove_hidden_siblings, write_atomically, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"a": 1})
    before = path.read_text()

    def fail(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_atomically(path, fail)
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == before == '{\n  "a": 1\n}\n'
    assert list(path.parent.iterdir()) == [path]


def test_what_killed_processes_left_is_removed_by_name_and_age(tmp_path: Path) -> None:
    old, new, other = (hidden_sibling(tmp_path / name) for name in ("grid [1].png", "grid [1].png", "other.png"))
    for path in (old, new, other):
        path.mkdir()
        (path / "half").write_text("half")
    for path in (old, other):
        os.utime(path, (1e9, 1e9))
    remove_hidden_siblings(tmp_path, of="grid [1].png", older_than=3600)
    assert sorted(tmp_path.iterdir()) == sorted([new, other])
    (tmp_path / ".hidden.png").write_text("mine")
    remove_hidden_siblings(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".hidden.png"]


@pytest.mark.parametrize("below", ["", "a/b"])
def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=r"cannot be made, because .*/taken is a file; give the name of a folder"):
        make_folder(tmp_path / "taken" / below)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_users_umask_decides_who_may_read_a_file(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode
