"""Sets of the tensorflow-datasets catalogue, up to their download."""

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from sharingan_jax.config.load import load_config
from sharingan_jax.data.pipeline import import_tensorflow
from sharingan_jax.data.sources.load import load_dataset
from sharingan_jax.errors import UserError
from sharingan_jax.training.seeds import prepare

MNIST = (
    r"mnist is not prepared yet: tensorflow-datasets would download 4 files of 11\.6 MB together,"
    r" and prepare them in .*mnist.3\.0\.1"
)


@pytest.fixture(scope="module")
def tfds() -> Any:
    pytest.importorskip("importlib_resources", reason="a requirement since tensorflow-datasets 4.9.10")
    import_tensorflow()
    return pytest.importorskip("tensorflow_datasets")


def test_a_set_of_the_catalogue_says_what_it_would_download_and_writes_nothing(tfds: Any, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=rf"^data\.name=mnist: {MNIST}\. Nothing was fetched; start without --dry-run to do so\.$"
    ):
        load_dataset("tfds:mnist", data_dir=str(tmp_path / "sets"), fetch=False)
    assert not (tmp_path / "sets").exists()


def test_the_download_is_announced_before_it_begins(tfds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def refuse(builder: Any, **options: Any) -> None:
        assert len(said) == 1
        raise OSError("no network")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    with pytest.raises(UserError, match=r"^data\.name=mnist: expected a set that can be prepared, got: no network\. Prepare it"):
        load_dataset("tfds:mnist", data_dir=str(tmp_path), say=said.append)
    (line,) = said
    assert line.startswith("mnist is not prepared yet: tensorflow-datasets would download 4 files of 11.6 MB together")


def test_a_dry_run_downloads_nothing(tfds: Any, tmp_path: Path) -> None:
    data = {"data.source": "tfds", "data.name": "mnist", "data.data_dir": str(tmp_path / "sets")}
    with pytest.raises(UserError, match=rf"^data\.name=mnist: {MNIST}"):
        prepare(load_config("smoke", data), tmp_path / "run", fetch=False)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_a_set_needs_is_named(prepared_set: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow_datasets

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "importlib_resources":
            raise ModuleNotFoundError("No module named 'importlib_resources'", name=name)
        return real(name, *arguments, **options)

    def builder(*arguments: Any, **options: Any) -> Any:
        import importlib_resources

        return importlib_resources

    real = builtins.__import__
    monkeypatch.delitem(sys.modules, "importlib_resources", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(tensorflow_datasets, "builder", builder)
    needed = r"expected the package importlib_resources, which tensorflow-datasets imports, got none"
    with pytest.raises(UserError, match=rf"^data\.name=mnist: {needed}\. Run: pip install importlib_resources$"):
        load_dataset("tfds:mnist", data_dir=prepared_set)
