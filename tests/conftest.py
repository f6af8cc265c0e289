"""Settings and fixtures of all tests: eight virtual devices, no silent broadcasting, one compile cache for the session."""

import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DEVICES = "--xla_force_host_platform_device_count=8"
if DEVICES not in os.environ.get("XLA_FLAGS", ""):  # A worker of pytest-xdist inherits them.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
# Many tests, and the processes that they start, compile the same small programs. The workers of pytest-xdist inherit the folder.
# A largest size makes JAX lock it, so that no process reads half of a program that another one is writing.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    CACHE = tempfile.TemporaryDirectory(prefix="sharingan-jax-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE.name
os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(2**30)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
# By default PyTorch's threads spin while they wait, and two workers on two cores would slow each other down.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # The same holds for numpy's: two workers with two threads each wait for one another.

import jax
import numpy as np
import pytest
from PIL import Image

import main
from sharingan_jax.comparison import runs
from sharingan_jax.config.load import load_config
from sharingan_jax.config.schema import Config
from sharingan_jax.data.pipeline import import_tensorflow
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.metrics import read_metrics

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parents[1]
WRITE_RUN_REPORT = runs.write_run_report


def smoke_config(**changes: str) -> Config:
    """Return the smoke configuration with changes: `train__steps="8"` is `--config.train.steps=8`."""
    overrides = [(key.replace("__", "."), value) for key, value in changes.items()]
    return load_config(ROOT / "configs" / "smoke.py", overrides)


@pytest.fixture(scope="session", autouse=True)
def _without_pages() -> Iterator[None]:
    """Leave out the page that each run ends with, which takes 1.6 seconds. `with_pages` brings it back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "write_run_report", lambda path: None)
        yield


@pytest.fixture
def with_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs end with their page, as they do outside of the tests."""
    monkeypatch.setattr(runs, "write_run_report", WRITE_RUN_REPORT)


@pytest.fixture(scope="module")
def compiled_quickly() -> Iterator[None]:
    """Compile programs without LLVM's optimisation: tests that mostly compile take two thirds of the time.

    It is for tests of values, not of bits that are recorded: the last bits differ from those of optimised programs. Programs that
    run for long become slow, up to tenfold. JAX keeps compiled programs without regard to this setting, so they are forgotten at
    both ends: the tests of the next file must not run a program from here.
    """
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


@pytest.fixture
def float64() -> Iterator[None]:
    """Let JAX compute in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def mixed_folder(tmp_path: Path) -> Path:
    """A folder with 30 small images of different sizes, smooth enough to resize."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(30):
        coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(coarse).resize((40 + i, 70 - i), Image.Resampling.BILINEAR).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def sharingan_folder() -> Path:
    """The folder of the original's hundred images, which are not in the repository. Tests that need it are skipped without it."""
    folder = ROOT.parent / "shared" / "data" / "sharingan"
    if not folder.is_dir():
        pytest.skip("the original's hundred images are not here")
    return folder


@pytest.fixture(scope="session")
def prepared_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tensorflow-datasets set that builds itself offline: fourteen images of two classes and several sizes."""
    import_tensorflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets as tfds

        class TinyEyes(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
            """Generated images."""

            VERSION = tfds.core.Version("1.0.0")

            def _info(self) -> Any:
                features = {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=["dim", "bright"]),
                }
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

            def _split_generators(self, _: Any) -> Any:
                return {"train": self._generate_examples(14), "test": self._generate_examples(3)}

            def _generate_examples(self, count: int) -> Any:
                for i in range(count):
                    image = np.full((40 + i, 60 - i, 3), 10 * i, np.uint8)
                    yield i, {"image": image, "label": i % 2}

        folder = str(tmp_path_factory.mktemp("tfds"))
        TinyEyes(data_dir=folder).download_and_prepare()
    return folder


TINY = [
    "--config.model.gen.width=4", "--config.model.disc.width=4", "--config.model.nz=8", "--config.train.batch_size=8",
    "--config.data.size=32", "--config.sample.num=9", "--config.train.devices=1", "--config.model.conv_impl=direct",
]  # fmt: skip
"""Arguments that make any configuration train in seconds."""


def train_arguments(folder: Path, workdir: Path, *more: str) -> list[str]:
    """Return the arguments of `main.py` for a tiny run on a folder's images."""
    data = ["--config.data.source=folder", f"--config.data.path={folder}"]
    return ["--config", str(ROOT / "configs" / "smoke.py"), "--workdir", str(workdir), *TINY, *data, *more]


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with twenty small images of noise, and a text file."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(folder / f"{i:02d}.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="session")
def whole_run(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of twelve steps on `image_folder`, with checkpoints at 4, 8 and 12. Read-only."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert main.main(train_arguments(image_folder, workdir)) == 0
    return workdir


def metrics_of(workdir: Path) -> list[dict[str, Any]]:
    """Return a run's records without their times, which differ between two equal runs."""
    return [{**record, "time": None} for record in read_metrics(RunFolder(workdir))]


def manifest_of(workdir: Path) -> dict[str, Any]:
    """Return a run's manifest."""
    manifest: dict[str, Any] = json.loads((workdir / "manifest.json").read_text())
    return manifest


def environments_of(workdir: Path) -> list[dict[str, Any]]:
    """Return the environment of each of a run's starts, from its manifest."""
    return [start["environment"] for start in manifest_of(workdir)["starts"]]


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder, by its relative name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--kills N`: how often the test of kill -9 kills its run."""
    parser.addoption("--kills", type=int, default=3, help="how often tests/behaviour/test_kills.py kills its run; default: 3")
