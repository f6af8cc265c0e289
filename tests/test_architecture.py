"""Imports between packages point one way. The law is the one line of `LAW`."""

import ast
import re
import subprocess
import sys
from pathlib import Path

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


def _imported_packages(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sharingan_jax":
            inner = node.module.split(".")[1:]
            found |= {inner[0]} if inner else {alias.name for alias in node.names if alias.name != "__version__"}
    return found


def _imported_modules(path: Path) -> set[str]:
    """Return the modules of the package that a file imports at its top level, not inside functions."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sharingan_jax"):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if (ROOT / (name.replace(".", "/") + ".py")).exists() else node.module for name in inner}
    return found


def test_packages_import_only_from_packages_below_them() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        own = _package(path)
        for other in _imported_packages(path) - {own} if own != "__init__" else ():
            assert _level(other) < _level(own), f"{path.relative_to(ROOT)} imports {other}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): _imported_modules(path)
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
