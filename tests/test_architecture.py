"""Imports between packages point one way. The law is the one line of `LAW`."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "sharingan_jax"

LAW = (
    "errors < files < config < data, model < gan < devices, reporting < run"
    " < interop < evaluation < comparison < training < commands < __main__"
)


def _level(name: str) -> int:
    levels = [group.replace(",", " ").split() for group in LAW.split("<")]
    (level,) = [number for number, names in enumerate(levels) if name in names]
    return level


def _package(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _imported_names(nodes: Iterable[ast.AST]) -> set[str]:
    """Return what the import statements among `nodes` name in the package, with the dots, such as sharingan_jax.files.T."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import; write from sharingan_jax..."
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "sharingan_jax"}


def _imported_packages(text: str) -> set[str]:
    """Return the packages at the top of ours that a file imports, also inside functions."""
    inner = {name.split(".")[1] for name in _imported_names(ast.walk(ast.parse(text))) if "." in name}
    return inner & {_package(path) for path in PACKAGE.rglob("*.py")}


def _imported_modules(text: str) -> set[str]:
    """Return the modules of the package that a file imports at its top level, not inside functions."""
    names = _imported_names(ast.parse(text).body)
    files = {name: ROOT / name.replace(".", "/") for name in names}
    modules = {name for name, file in files.items() if file.is_dir() or file.with_suffix(".py").exists()}
    return modules | {name.rpartition(".")[0] for name in names - modules}


@pytest.mark.parametrize(
    "line",
    [
        "from sharingan_jax.run.load import Run",
        "from sharingan_jax import run",
        "import sharingan_jax.run.load",
        "import json, sharingan_jax.run.load as load",
        "def f():\n    import sharingan_jax.run.load",
    ],
)
def test_every_form_of_import_is_seen(line: str) -> None:
    assert _imported_packages(line) == {"run"}


def test_a_relative_import_is_forbidden() -> None:
    for line in ("from . import load", "from .load import Run", "from ..run import load"):
        with pytest.raises(AssertionError, match=r"line 1: a relative import"):
            _imported_packages(line)


def test_packages_import_only_from_packages_below_them() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        own = _package(path)
        for other in _imported_packages(path.read_text(encoding="utf-8")) - {own} if own != "__init__" else ():
            assert _level(other) < _level(own), f"{path.relative_to(ROOT)} imports {other}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): _imported_modules(
            path.read_text(encoding="utf-8")
        )
        for path in PACKAGE.rglob("*.py")
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_every_package_says_in_two_lines_what_lives_there() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert text, path
        assert len([line for line in text.splitlines() if line]) == 2 or path.parent == PACKAGE, path


def test_the_package_has_at_most_17_entries_at_its_top() -> None:
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 17, entries


def test_only_one_file_splits_and_merges_modules() -> None:
    users = {path.name for path in PACKAGE.rglob("*.py") if re.search(r"nnx\.(split|merge)\(", path.read_text(encoding="utf-8"))}
    assert users == {"functional.py"}


def test_no_file_is_long() -> None:
    for path in (*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), ROOT / "main.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path.name
    assert len((ROOT / "main.py").read_text(encoding="utf-8").splitlines()) < 60


def test_heavy_packages_are_not_imported_for_a_mistyped_setting() -> None:
    program = (
        "import sys, main; code = main.main(['--config.train.stesp=5']);"
        "print(code, [name for name in ('jax', 'tensorflow', 'matplotlib', 'orbax') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "2 []", done.stderr
