"""Imports point one way: the law that the README's architecture section draws."""

import ast
import re
from pathlib import Path

from conftest import ROOT

PACKAGE = ROOT / "sharingan_jax"

LAYERS = [
    {"__init__", "errors", "comparison", "memory"},
    {
        "atomic",
        "config",
        "processes",
        "streams",
        "convolutions",
        "losses",
        "stopping",
        "data.motifs",
        "data.order",
        "data.pictures",
    },
    {"layers", "optim", "images", "config_files", "environment", "data.emblems", "data.pipeline"},
    {"networks", "figures", "tensorboard", "progress", "schedule", "rundir", "compile_cache", "data.tfds_source"},
    {"functional", "outputs", "manifest", "data.sources", "interop.tensor_table"},
    {"state", "recorder"},
    {"step", "checkpoint", "interop.state_dict"},
    {"parallel", "resume", "interop.torch_adam"},
    {"saving", "saved", "together", "interop.torch_files"},
    {"prepared"},
    {"loop"},
    {"sampling", "verification", "interop.torch_import", "interop.trace"},
    {"interop.stablehlo"},
    {"commands.arguments", "commands.plan"},
    {"commands.train", "commands.sample", "commands.export", "commands.import_weights", "commands.diff", "commands.verify"},
    {"commands.__init__", "data.__init__", "interop.__init__"},
]


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sharingan_jax":
            module = node.module.removeprefix("sharingan_jax").lstrip(".")
            for alias in node.names:
                inner = f"{module}.{alias.name}".lstrip(".")
                found.add(inner if (PACKAGE / (inner.replace(".", "/") + ".py")).exists() else module or "__init__")
    return found


def _layer(name: str) -> int:
    (layer,) = [i for i, names in enumerate(LAYERS) if name in names]
    return layer


def test_every_file_has_a_layer_and_imports_only_from_below() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = _name(path)
        for imported in _imports(path):
            assert _layer(imported) < _layer(name), f"{name} imports {imported}"


def test_only_one_file_splits_and_merges_modules() -> None:
    users = {_name(path) for path in PACKAGE.rglob("*.py") if re.search(r"nnx\.(split|merge)\(", path.read_text())}
    assert users == {"functional"}


def test_no_file_is_long() -> None:
    for path in (*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), ROOT / "main.py"):
        assert len(path.read_text().splitlines()) <= 400, path.name
    assert len((ROOT / "main.py").read_text().splitlines()) < 60


def test_heavy_packages_are_not_imported_for_a_mistyped_setting() -> None:
    import subprocess
    import sys

    program = (
        "import sys, main; code = main.main(['--config.train.stesp=5']);"
        "print(code, [name for name in ('jax', 'tensorflow', 'matplotlib', 'orbax') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "2 []", done.stderr
