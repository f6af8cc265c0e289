"""Images are written as they are drawn, in every format, and what would not fit is refused before anything is drawn."""

import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faults import FAULTS
from PIL import Image

from sharingan_jax.commands.sample import make_parser
from sharingan_jax.errors import UserError
from sharingan_jax.reporting import video
from sharingan_jax.reporting.grids import to_u8
from sharingan_jax.run import sample_files as module
from sharingan_jax.run.latents import draw_run_latents
from sharingan_jax.run.sample import sample
from sharingan_jax.run.sampling import Sampler, read_latents

NZ = 4


def _generate(z: np.ndarray) -> np.ndarray:
    """Return images [B, 8, 8, 3] that show their latents."""
    return np.tanh(np.resize(z[:, :, None, None], (len(z), 8, 8, 3))).astype(np.float32)


SAMPLER = Sampler("a test", NZ, _generate, (8, 8, 3))


def test_an_array_is_written_in_groups_as_numpy_would_write_it_whole(tmp_path: Path) -> None:
    drawn = sample(SAMPLER, tmp_path / "a.npy", num=1201, seed=3)
    assert (drawn.count, drawn.groups) == (1201, 3)
    np.save(tmp_path / "b.npy", SAMPLER.draw(draw_run_latents(3, count=1201, nz=NZ)))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_a_folder_is_written_whole_or_not_at_all_and_never_mixed(tmp_path: Path) -> None:
    folder = tmp_path / "samples.v2"
    sample(SAMPLER, f"{folder}/", num=5)
    assert sorted(path.name for path in folder.iterdir()) == [f"{i:05d}.png" for i in range(5)]
    first = (folder / "00000.png").read_bytes()
    with pytest.raises(UserError) as refusal:
        sample(SAMPLER, folder, num=3, seed=1)
    assert FAULTS["mixed-samples"].is_shown_in(make_parser().in_flags(str(refusal.value)))
    mine = {"notes.txt", "7.png", "2024.png", "20240101.png"}
    for name in mine:
        (folder / name).write_text("mine")
    sample(SAMPLER, folder, num=3, seed=1, overwrite=True)
    assert {path.name for path in folder.iterdir()} == {"00000.png", "00001.png", "00002.png", *mine}
    assert (folder / "00000.png").read_bytes() != first

    (folder / "00001.png").unlink()
    with pytest.raises(
        UserError, match=r"expected the images of one sampling, but 00001\.png is missing and 00002\.png is there"
    ):
        sample(SAMPLER, folder, num=1, overwrite=True)
    assert (folder / "00002.png").exists()

    def fail(_: np.ndarray) -> np.ndarray:
        raise OSError("the device is gone")

    with pytest.raises(OSError, match="the device is gone"):
        sample(Sampler("a test", NZ, fail, (8, 8, 3)), tmp_path / "new", num=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples.v2"]


def test_a_grid_can_be_a_jpeg(tmp_path: Path) -> None:
    for name in ("grid.JPG", "grid.jpeg", "grid.png"):
        sample(SAMPLER, tmp_path / name, num=6, columns=3)
    with Image.open(tmp_path / "grid.JPG") as image:
        assert (image.format, image.size) == ("JPEG", (3 * 10 + 2, 2 * 10 + 2))


def test_a_grid_between_four_latents_has_them_at_its_corners(tmp_path: Path) -> None:
    drawn = sample(SAMPLER, tmp_path / "grid.png", seed=3, between=(4, 0, 2, 6), columns=5, num=15)
    corners = draw_run_latents(3, count=7, nz=NZ)[[4, 0, 2, 6]]
    np.testing.assert_allclose(drawn.latents[[0, 4, 10, 14]], corners, atol=1e-6)
    with Image.open(tmp_path / "grid.png") as image:
        assert image.size == (5 * 10 + 2, 3 * 10 + 2)
    assert sample(SAMPLER, tmp_path / "default.png", between=(0, 1, 2, 3)).count == 49
    np.save(tmp_path / "z.npy", corners)
    again = sample(SAMPLER, tmp_path / "a.npy", latents=tmp_path / "z.npy", between=(0, 1, 2, 3), columns=5, num=15)
    np.testing.assert_allclose(again.latents, drawn.latents, atol=1e-6)


def test_a_walk_and_a_grid_between_latents_keep_the_signs_that_choose_a_symmetry(tmp_path: Path) -> None:
    sampler = replace(SAMPLER, signs=2)
    given = draw_run_latents(0, count=6, nz=NZ)
    assert len(np.unique(np.sign(given[:, :2]), axis=0)) > 1
    for name, options, first in (("walk.npy", {"interpolate": True}, 0), ("grid.npy", {"between": (3, 0, 1, 2)}, 3)):
        drawn = sample(sampler, tmp_path / name, num=None if "between" in options else 6, **options)
        np.testing.assert_array_equal(np.sign(drawn.latents[:, :2]), np.tile(np.sign(given[first, :2]), (drawn.count, 1)))
        np.testing.assert_allclose(drawn.latents[0], given[first], atol=1e-6)


def test_a_scale_repeats_the_pixels_of_a_grid_a_single_image_and_a_folders_images(tmp_path: Path) -> None:
    for num in (1, 6):
        for scale in (1, 2, 4):
            sample(SAMPLER, tmp_path / f"{scale}.png", num=num, scale=scale)
        plain, twice, four = (np.asarray(Image.open(tmp_path / f"{scale}.png")) for scale in (1, 2, 4))
        np.testing.assert_array_equal(twice, plain.repeat(2, axis=0).repeat(2, axis=1))
        np.testing.assert_array_equal(four, twice.repeat(2, axis=0).repeat(2, axis=1))
    for scale in (1, 4):
        sample(SAMPLER, f"{tmp_path}/x{scale}/", num=2, scale=scale)
    plain, four = (np.asarray(Image.open(tmp_path / f"x{scale}" / "00001.png")) for scale in (1, 4))
    np.testing.assert_array_equal(four, plain.repeat(4, axis=0).repeat(4, axis=1))


def test_truncation_restricts_the_latents_that_are_drawn(tmp_path: Path) -> None:
    drawn = sample(SAMPLER, tmp_path / "a.npy", num=30, seed=2, truncation=0.5)
    np.testing.assert_array_equal(drawn.latents, draw_run_latents(2, count=30, nz=NZ, truncation=0.5))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), SAMPLER.draw(drawn.latents))


def test_an_mp4_has_the_frames_of_the_gif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[np.ndarray] = []
    monkeypatch.setattr(video, "find_ffmpeg", lambda path: "ffmpeg")
    monkeypatch.setattr(video, "save_walk_mp4", lambda path, frames: written.extend(frames))
    drawn = sample(SAMPLER, tmp_path / "walk.mp4", num=3)
    assert (drawn.count, len(written), written[0].shape) == (36, 36, (256, 256, 3))
    np.testing.assert_allclose(drawn.latents[::12], draw_run_latents(0, count=3, nz=NZ), atol=1e-6)
    np.testing.assert_array_equal(written[5][::32, ::32], to_u8(SAMPLER.draw(drawn.latents))[5])


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("x.png", {"scale": 3}, "scale=3: expected 1, 2 or 4. Use 2."),
        ("x.gif", {"scale": 2}, "scale=2: expected out=grid.png or a folder/, got out=x.gif. Leave out `scale`."),
        ("x.npy", {"weights": "both"}, "weights=both: expected out=grid.png, walk.gif or walk.mp4, which show both side"),
        ("x.png", {"truncation": 0}, "truncation=0: expected a number above 0, at most 5. Use 0.5."),
        ("x.png", {"truncation": 1, "latents": "z.npy"}, "`truncation` with `latents`: expected only one of them."),
        ("x.png", {"between": (0, 1, 2)}, "between=0,1,2: expected four indices of latents, counted from 0."),
        (
            "x.png",
            {"between": (0, 1, 2, 9), "latents": "z.npy"},
            "between=0,1,2,9: expected indices from 0 to 4, as latents=",
        ),
        (
            "x.gif",
            {"between": (0, 1, 2, 3)},
            "between: makes a grid, and a walk is asked for too. Use out=grid.png without `interpolate`.",
        ),
        (
            "x.png",
            {"between": (0, 1, 2, 3), "num": 20},
            "num=20: expected whole rows of 7, at least 2, with `between`. Use num=21.",
        ),
        ("x.png", {"between": (0, 1, 2, 3), "columns": 1}, "columns=1: expected at least 2 with `between`"),
        ("x.png", {"between": (0, 1, 2, 10**9)}, "the latents would take 16.0 GB, expected at most 2.1"),
    ],
)
def test_choices_that_contradict_each_other_are_refused_in_one_line(
    out: str, options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("z.npy", np.zeros((5, NZ)))
    with pytest.raises(UserError) as refusal:
        sample(Sampler("a test", NZ, lambda z: pytest.fail("it was drawn"), (8, 8, 3)), out, **options)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "--" not in str(refusal.value)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("num=0: expected at least 1.", "--num=0: expected at least 1."),
        ("label=5: expected 0 to 2.", "--class=5: expected 0 to 2."),
        ("between: makes a grid. Use out=grid.png without `interpolate`.",
         "--between: makes a grid. Use --out=grid.png without --interpolate."),
        ("`num` with `latents`: expected only one of them.", "--num with --latents: expected only one of them."),
        ("model.nz=num=0: expected `sample` or num = 0", "model.nz=num=0: expected `sample` or num = 0"),
    ],
)  # fmt: skip
def test_the_command_names_its_flags_where_the_function_names_its_arguments(message: str, shown: str) -> None:
    assert make_parser().in_flags(message) == shown


@pytest.mark.parametrize(
    ("out", "num", "message"),
    [
        (
            "grid.png",
            2_000_000,
            "the grid would have 128,000,000 pixels, and Pillow opens at most 89,478,485. Draw at most 1398101,",
        ),
        ("walk.gif", 1000, "the GIF would have 12000 frames, expected at most 2400. Walk between at most 200 latents"),
        ("a.npy", 2_000_000, "the array would take 1.5 GB, and the disk has 1.0 GB left. Draw fewer images."),
        ("folder", 60_000_000, "the images would take more than 1.2 GB, and the disk has 1.0 GB left. Draw fewer images."),
        ("folder", 10**11, "the latents would take 1,600.0 GB, expected at most 2.1. Draw several times, with other seeds."),
        ("samples.v2", 3, "expected .png, .jpg, .npy, .gif, .mp4 or a folder's name with / at its end"),
    ],
)
def test_what_would_not_fit_is_refused_before_anything_is_drawn(
    out: str, num: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    sampler = Sampler("a test", NZ, lambda z: pytest.fail("it was drawn"), (8, 8, 3))
    with pytest.raises(UserError) as refusal:
        sample(sampler, tmp_path / out, num=num)
    assert message in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample(SAMPLER, tmp_path / "a.npy", num=1000)
    assert capsys.readouterr().err == ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr.isatty", lambda: True)
        list(module.show_progress(SAMPLER.draw_groups(np.zeros((1000, NZ), np.float32)), count=1000))
    assert "/1000 [" in capsys.readouterr().err


def test_latents_come_from_every_usual_file(tmp_path: Path) -> None:
    z = np.random.default_rng(0).normal(size=(3, NZ)).astype(np.float32)
    np.save(tmp_path / "a.npy", z)
    np.save(tmp_path / "b.npy", np.asfortranarray(z.astype(np.float64)))
    np.save(tmp_path / "c.npy", z[:, :, None, None])
    np.savez(tmp_path / "d.npz", z=z)
    np.savez_compressed(tmp_path / "E.NPZ", z)
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_latents(path, nz=NZ), z)
    torch = pytest.importorskip("torch")
    torch.save(torch.tensor(z)[:, :, None, None].bfloat16(), tmp_path / "f.pt")
    np.testing.assert_allclose(read_latents(tmp_path / "f.pt", nz=NZ), z, rtol=0.01, atol=0.01)


def test_a_shape_that_is_no_shape_is_refused(tmp_path: Path) -> None:
    (tmp_path / "z.npy").write_bytes(_header((True, NZ)) + bytes(16))
    with pytest.raises(UserError, match=r"it claims 16 bytes of shape \[True, 4\]"):
        read_latents(tmp_path / "z.npy", nz=NZ)


def test_tensors_that_are_not_plain_numbers_are_refused_in_one_line(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    lie = torch.zeros(1).expand(2**29, NZ)
    odd = [lie, torch.zeros(3, NZ).to_sparse(), torch.zeros(3, NZ, device="meta"), torch.zeros(3, NZ) * 1j, {"z": 1}]
    for tensor in odd:
        torch.save(tensor, tmp_path / "z.pt")
        with pytest.raises(UserError, match=r"^latents=[^\n]*z\.pt: [^\n]*$"):
            read_latents(tmp_path / "z.pt", nz=NZ)
    torch.save(torch.nn.Parameter(torch.ones(3, NZ)), tmp_path / "z.pt")
    np.testing.assert_array_equal(read_latents(tmp_path / "z.pt", nz=NZ), np.ones((3, NZ)))


def _header(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (118 - len(text) - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("shape", [(10**12, NZ), (10**7, NZ), (-1, NZ)])
def test_a_file_that_claims_more_than_it_holds_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "z.npy").write_bytes(_header(shape) + bytes(100))
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        archive.writestr("z.npy", _header(shape) + bytes(100))
    for name in ("z.npy", "z.npz"):
        with pytest.raises(UserError) as refusal:
            read_latents(tmp_path / name, nz=NZ)
        assert FAULTS["claims"].is_shown_in(str(refusal.value))


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "z.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("z.npy", "w", force_zip64=True) as file,
    ):
        file.write(_header((10**8, NZ, 2)))
    with pytest.raises(UserError, match="it claims 3,200,000,000 bytes"):
        read_latents(tmp_path / "z.npz", nz=NZ)


@pytest.mark.parametrize("name", ["z.txt", "z.npz", "z.npy", "z.pt"])
def test_other_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("not an array")
    with pytest.raises(UserError) as refusal:
        read_latents(tmp_path / name, nz=NZ)
    assert str(refusal.value).startswith(f"latents={tmp_path / name}: ")
    assert "\n" not in str(refusal.value)
