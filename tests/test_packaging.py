"""The package installs with its command and configurations, and its public API is lazy."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

import sharingan_jax
from sharingan_jax.__main__ import COMMANDS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = ("jax", "numpy", "tensorflow", "ml_collections", "flax", "orbax", "matplotlib", "PIL")


def _lines(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r "))]


def _python(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = f"import sys, sharingan_jax as sg; dir(sg); print([name for name in {HEAVY} if name in sys.modules])"
    done = _python("-c", program)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", sharingan_jax.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(sharingan_jax, name).__class__ is not None
    assert name in dir(sharingan_jax)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'sharingan_jax' has no attribute 'trian'"):
        sharingan_jax.trian  # noqa: B018
    assert set(sharingan_jax.__all__) == {*sharingan_jax._MODULES, "__version__"}


@pytest.mark.parametrize("words", [["--help"], ["--version"], [], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_fits_80_columns_and_needs_no_requirements(words: list[str]) -> None:
    done = _python("-S", "-m", "sharingan_jax", *words)  # -S: without site-packages.
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_packages_are_named_in_full() -> None:
    found = {".".join(path.relative_to(ROOT).parent.parts) for path in (ROOT / "sharingan_jax").rglob("*.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == {*found, "sharingan_jax.configs"}
    assert (ROOT / "sharingan_jax" / "py.typed").is_file()


def test_the_extras_are_what_the_requirements_files_list() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert extras["dev"] == _lines("requirements-dev.txt")
    assert extras["docs"] == _lines("requirements-docs.txt")
    assert PROJECT["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert all(f'"{line}"' in text for line in (*extras["cuda"], *extras["tpu"]))


@pytest.fixture
def copied_checkout(tmp_path: Path) -> Path:
    """The files that an installation needs, in a folder that a build may write to."""
    folder = tmp_path / "checkout"
    for name in ("sharingan_jax", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A fresh virtual environment that sees the requirements of this one, and not this checkout."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def _install(environment: Path, *words: str) -> None:
    command = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install", "-q", "--no-deps"]
    subprocess.run([*command, "--no-index", "--no-build-isolation", "--disable-pip-version-check", *words], check=True)


def _run(environment: Path, cwd: Path, *words: str) -> str:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [environment / "bin" / words[0], *words[1:]]
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the layout of a virtual environment")
def test_a_wheel_in_a_fresh_environment_trains_from_an_empty_folder(
    copied_checkout: Path, environment: Path, tmp_path: Path
) -> None:
    build = "import setuptools.build_meta as build; build.build_wheel('dist')"
    assert _python("-c", build, cwd=copied_checkout).returncode == 0
    (wheel,) = (copied_checkout / "dist").glob("*.whl")
    _install(environment, str(wheel))
    shutil.rmtree(copied_checkout)
    empty = tmp_path / "empty"
    empty.mkdir()
    where = _run(environment, empty, "python", "-c", "import sharingan_jax; print(sharingan_jax.__file__)")
    assert Path(where.strip()).is_relative_to(environment)
    assert _run(environment, empty, "sharingan-jax", "--version") == f"sharingan-jax {sharingan_jax.__version__}\n"
    assert "\nquick " in _run(environment, empty, "python", "-m", "sharingan_jax", "configs")
    _run(environment, empty, "sharingan-jax", "--config", "quick", "--workdir", "run", "--config.train.steps=4")
    assert (empty / "run" / "losses.png").stat().st_size > 0
    assert "complete  4/4   0     quick +1  " in _run(environment, empty, "sharingan-jax", "runs", ".")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the layout of a virtual environment")
def test_an_editable_installation_has_the_command_and_the_configurations_of_the_checkout(
    copied_checkout: Path, environment: Path, tmp_path: Path
) -> None:
    _install(environment, "--editable", str(copied_checkout))
    (copied_checkout / "configs" / "mine.py").write_text('"""A configuration of mine."""\n')
    listed = _run(environment, tmp_path, "sharingan-jax", "configs")
    assert "A configuration of mine." in listed
    assert f"The files are in {copied_checkout / 'configs'}" in listed
