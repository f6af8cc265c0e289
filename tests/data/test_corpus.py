"""Each file of the corpus becomes what docs/data.md says: these pixels, or skipped or bad for this reason."""

import os
from pathlib import Path

import corpus
import numpy as np
import pytest
from odd_files import PROOF
from PIL import ImageColor

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.sources.load import load_dataset
from sharingan_jax.errors import UserError

SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    corpus.make_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> ImageDataset:
    return load_dataset(folder, size=SIZE, on_bad="skip")


@pytest.mark.parametrize("name", corpus.FILES, ids=ascii)
def test_an_odd_file_becomes_what_the_table_says(name: str, dataset: ImageDataset) -> None:
    file = corpus.FILES[name]
    readable = os.fsencode(name).decode("utf-8", "backslashreplace")
    kind, _, reason = file.outcome.partition(": ")
    if kind in ("skipped", "bad"):
        found = {"skipped": dataset.skipped, "bad": dataset.bad}[kind]
        folder = f"{Path(name).parent.as_posix()}/"
        assert reason in found.get(readable, found.get(folder, f"{readable} is in {dataset.names}"))
        assert readable not in dataset.names
    else:
        (image,) = dataset.gather([dataset.names.index(readable)]).astype(int)
        places = [SIZE // 4, 3 * SIZE // 4]
        colours = [_colour(word) for word in file.outcome.replace("/", " ").split()]
        found_colours = image[np.ix_(places, places)].reshape(4, 3)
        assert np.abs(found_colours - colours).max() <= file.within, found_colours.tolist()


@pytest.mark.parametrize("channels", [1, 4])
def test_each_image_is_also_read_as_grey_and_with_transparency(channels: int, folder: Path, dataset: ImageDataset) -> None:
    found = load_dataset(folder, size=SIZE, channels=channels, on_bad="skip")
    assert (found.names, dict(found.bad), dict(found.skipped)) == (dataset.names, dict(dataset.bad), dict(dataset.skipped))
    middles = np.ix_(range(dataset.count), [SIZE // 4, 3 * SIZE // 4], [SIZE // 4, 3 * SIZE // 4])
    colours, others = (each.preview(each.count)[middles].astype(int) for each in (dataset, found))
    if channels == 1:  # Pillow's weights of red, green and blue.
        colours = (colours @ [299, 587, 114])[..., None] / 1000
    else:
        alpha = others[..., 3:]
        others = (others[..., :3] * alpha + 255 * (255 - alpha)) / 255
    differences = np.abs(others - colours).max((1, 2, 3))  # [N]
    assert [name for name, far in zip(dataset.names, differences, strict=True) if far > 2] == []


def _colour(word: str) -> tuple[int, ...]:
    return (int(word),) * 3 if word.isdigit() else ImageColor.getrgb(word)


def test_the_corpus_has_at_least_80_files_and_no_others_are_found(dataset: ImageDataset) -> None:
    assert len(corpus.FILES) >= 80
    assert dataset.count + len(dataset.skipped) + len(dataset.bad) == len(corpus.FILES)


def test_no_program_of_the_corpus_has_run(folder: Path, dataset: ImageDataset) -> None:
    assert dataset.skipped
    for place in (folder, folder / "others", Path.cwd()):
        assert not (place / PROOF).exists()


def test_all_bad_files_are_listed_in_one_line_with_their_reasons(folder: Path) -> None:
    bad = [name for name, file in corpus.FILES.items() if file.outcome.startswith("bad")]
    with pytest.raises(UserError) as caught:
        load_dataset(folder, size=SIZE)
    message = str(caught.value)
    assert f"expected images that can be read, got {len(bad)} that cannot: broken/bomb-without-ending (more than" in message
    assert [name for name in bad if f"{name} ({corpus.FILES[name].outcome.removeprefix('bad: ')}" not in message] == []
    assert message.endswith("). Repair or remove them. A run skips them with data.on_bad=skip.")
    assert "\n" not in message


def test_of_too_many_bad_files_two_hundred_are_listed_and_where_the_others_are(tmp_path: Path) -> None:
    for i in range(203):
        (tmp_path / f"{i:03d}.png").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"199\.png \(an empty file\) and 3 more\. .*skip, which lists all in the run's data\.json\.$"
    ):
        load_dataset(tmp_path, size=SIZE)


def test_the_table_in_the_documents_is_the_one_that_is_tested() -> None:
    document = corpus.DOCUMENT.read_text(encoding="utf-8")
    assert document == corpus.with_table(document), "run python tests/corpus.py"
