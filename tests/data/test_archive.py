"""Archives are read in place: the same images as the unpacked folder, and nothing outside of them."""

import io
import itertools
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from odd_files import bomb, encoded, scene

from sharingan_jax.data import formats
from sharingan_jax.data.sources import archive
from sharingan_jax.data.sources.load import load_dataset
from sharingan_jax.errors import UserError

PNG = encoded(scene(), "PNG")


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def _pack_zip(folder: Path, path: Path) -> None:
    files = sorted((file for file in folder.rglob("*") if file.is_file()), reverse=True)
    _zip(path, {file.relative_to(folder).as_posix(): file.read_bytes() for file in files})


def _pack_tar(folder: Path, path: Path) -> None:
    with tarfile.open(path, "w:" + {"tar": ""}.get(path.suffix[1:], path.suffix[1:])) as archive:  # type: ignore[call-overload]
        archive.add(folder, arcname=".")


@pytest.mark.parametrize(
    ("name", "pack"),
    [("a.zip", _pack_zip), ("a.tar", _pack_tar), ("a.tar.gz", _pack_tar), ("a.tar.xz", _pack_tar), ("no_ending", _pack_tar)],
)
def test_an_archive_has_the_digest_of_its_unpacked_folder(
    name: str, pack: Callable[[Path, Path], None], mixed_folder: Path, tmp_path: Path
) -> None:
    (mixed_folder / "sub").mkdir()
    (mixed_folder / "sub" / "notes.txt").write_text("hello")
    (mixed_folder / "07.png").rename(mixed_folder / "sub" / "07.png")
    (mixed_folder / ".hidden.png").write_bytes(PNG)
    if name == "no_ending":
        pack(mixed_folder, tmp_path / "a.tar")
        (tmp_path / "a.tar").rename(tmp_path / name)
    else:
        pack(mixed_folder, tmp_path / name)
    dataset, expected = load_dataset(tmp_path / name, size=32), load_dataset(mixed_folder, size=32)
    assert dataset.digest == expected.digest
    assert dataset.skipped == expected.skipped == {"sub/notes.txt": "not an image"}
    assert dataset.kind == ("a .zip archive" if name == "a.zip" else "a .tar archive")


def test_names_are_read_as_paths_in_every_form() -> None:
    parts = ("a", "/", ".", "\\", "C:", "é.png")
    names = ["".join(each) for length in range(6) for each in itertools.product(parts, repeat=length)]
    for name in names:
        path = PurePosixPath(name)
        leads_out = ".." in path.parts or path.is_absolute() or PureWindowsPath(name).is_absolute()
        member = archive._listed(name, set())
        assert bool(member and member.reason) == leads_out, name
        if member and not leads_out:
            assert member.name == path.as_posix()
        if not name.endswith(("/", ".")):
            assert formats.has_image_ending(name) == (path.suffix.lower() == ".png"), name


HOSTILE = {
    "../x.png": "its name leads out of the archive",
    "a/../../x.png": "its name leads out of the archive",
    "/x.png": "its name leads out of the archive",
    "C:\\x.png": "its name leads out of the archive",
    "__MACOSX/x.png": "a folder that a system made for itself",
    "notes.txt": "not an image",
}


@pytest.mark.parametrize("make", [_zip, _tar])
def test_hostile_names_are_skipped_with_the_reason(make: Callable[..., Path], tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    members = dict.fromkeys(HOSTILE, PNG) | {"notes.txt": b"hello", "good.png": PNG}
    dataset = load_dataset(make(inside / "a.archive", members), size=32)
    assert dataset.names == ("good.png",)
    skipped = {name.replace("\\", "/"): reason for name, reason in dataset.skipped.items()}
    expected = {("__MACOSX/" if "MACOSX" in name else name): reason for name, reason in HOSTILE.items()}
    assert skipped == {name.replace("\\", "/"): reason for name, reason in expected.items()}
    assert [path.name for path in tmp_path.rglob("*")] == ["inside", "a.archive"]


@pytest.mark.parametrize("make", [_zip, _tar])
def test_a_colon_in_a_name_leads_nowhere(make: Callable[..., Path], tmp_path: Path) -> None:
    names = ("12:30 photo.png", "c:d.png")
    assert load_dataset(make(tmp_path / "a.archive", dict.fromkeys(names, PNG)), size=32).names == names


def test_backslashes_in_a_zip_are_slashes(tmp_path: Path) -> None:
    members = {"cat\\": b"", "cat\\0.png": PNG, "cat\\1.png": PNG, "dog\\0.png": PNG, "dog\\1.png": PNG, "..\\..\\x.png": PNG}
    dataset = load_dataset(_zip(tmp_path / "a.zip", members), size=32)
    assert dataset.names == ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    assert (dataset.classes, dataset.skipped) == (("cat", "dog"), {"../../x.png": "its name leads out of the archive"})


def test_links_pipes_and_devices_in_a_tar_are_skipped(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar", {"good.png": PNG})
    with tarfile.open(path, "a") as archive:
        kinds = {tarfile.SYMTYPE: "a link", tarfile.LNKTYPE: "a link"}
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo(f"{kind.decode()}.png")
            member.type, member.linkname = kind, "/dev/zero"
            archive.addfile(member)
    dataset = load_dataset(path, size=32)
    assert dataset.names == ("good.png",)
    assert dataset.skipped == {
        f"{kind.decode()}.png": kinds.get(kind, "not a regular file")
        for kind in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
    }


def test_a_link_in_a_zip_is_never_followed(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"good.png": PNG})
    with zipfile.ZipFile(path, "a") as archive:
        member = zipfile.ZipInfo("link.png")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    dataset = load_dataset(path, size=32)
    assert (dataset.names, dataset.skipped) == (("good.png",), {"link.png": "a link"})


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", ["zip", "tar"])
def test_of_two_members_with_one_name_the_first_counts(make: str, tmp_path: Path) -> None:
    path, other = tmp_path / "a", encoded(scene().rotate(90), "PNG")
    if make == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.png", PNG)
            archive.writestr("a.png", other)
    else:
        _tar(path, {"a.png": PNG, "./a.png": other})
    dataset = load_dataset(path, size=32)
    assert dataset.digest == load_dataset(_zip(tmp_path / "b", {"a.png": PNG}), size=32).digest
    assert dataset.skipped == {"a.png": "a second file of this name"}


def test_encrypted_and_damaged_members_are_bad_and_named(tmp_path: Path) -> None:
    content = bytearray(_zip(tmp_path / "a.zip", {"a.png": PNG, "b.png": PNG, "c.png": PNG}).read_bytes())
    first, second = (place for place in range(len(content)) if content[place : place + 4] == b"PK\x01\x02").__iter__(), 0
    content[next(first) + 8] |= 1  # The flag that says: encrypted.
    second = content.index(b"b.png") + 30
    content[second] ^= 255
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"got 2 that cannot: a\.png \(encrypted\), b\.png \(.+\)\. Repair or remove them"):
        load_dataset(tmp_path / "a.zip", size=32)
    dataset = load_dataset(tmp_path / "a.zip", size=32, on_bad="skip")
    assert (dataset.names, list(dataset.bad)) == (("c.png",), ["a.png", "b.png"])


def test_a_bomb_in_an_archive_is_bad_and_read_only_up_to_the_bound(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"good.png": PNG, "pixels.png": bomb(), "zeros.bmp": b"BM" + bytes(2**25)})
    assert path.stat().st_size < 2**16
    dataset = load_dataset(path, size=32, on_bad="skip", max_pixels=4096)
    assert dataset.names == ("good.png",)
    assert dataset.bad["pixels.png"].startswith("more than 4,096 pixels")
    assert dataset.bad["zeros.bmp"].startswith("16,793,601 bytes, of at most 16,793,600")


@pytest.mark.parametrize("make", [_zip, _tar])
def test_a_member_that_is_no_image_is_not_read_to_its_end(make: Callable[..., Path], tmp_path: Path) -> None:
    others = {"film.mp4": b"\0\0\0\x18ftypmp42", "notes.txt": b"hello", "paper.pdf": b"%PDF-1.4", "nothing": b""}
    large = {name: first + bytes(2**25) for name, first in others.items()}
    path = make(tmp_path / "a.archive", {"good.png": PNG, "no_ending": PNG} | large)
    tracemalloc.start()
    dataset = load_dataset(path, size=32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dataset.names == ("good.png", "no_ending")
    assert dataset.skipped == {
        "film.mp4": "not an image",
        "notes.txt": "not an image",
        "nothing": "not an image",
        "paper.pdf": "PDF, which is a document and has no pixels of its own",
    }
    assert peak < 2**25


@pytest.mark.parametrize("make", [_zip, _tar, lambda path, members: _tar(path, members, "w:gz")])
@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_a_cut_archive_is_an_error_in_one_line(make: Callable[..., Path], kept: float, tmp_path: Path) -> None:
    path = make(tmp_path / "a.archive", {f"{i}.png": PNG + bytes([i] * 999) for i in range(40)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UserError, match=r"^data\.path=.*a\.archive: expected a \.(zip|tar) archive, got a damaged one: .*\.$"):
        load_dataset(path, size=32)


def test_an_archive_without_images_says_what_it_holds(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"notes.txt": b"hello"})
    with pytest.raises(
        UserError, match=r"expected a \.zip archive of images, got no images and 1 other file: notes\.txt \(not an"
    ):
        load_dataset(path, size=32)
