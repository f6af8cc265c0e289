"""What the documents name exists: tests, files, settings, links, and the packages in the page on architecture."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import faults
import pytest
from conftest import ROOT
from test_architecture import LAW, PACKAGE

import sharingan_jax as sg
from sharingan_jax.config.schema import KINDS

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CURRENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
every_current_document = pytest.mark.parametrize("path", CURRENT, ids=lambda path: path.name)


@every_document
def test_every_test_that_a_document_names_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{path.name} names {file}::{name}"
    files = list((ROOT / "tests").rglob("test_*.py"))
    every = "".join(file.read_text(encoding="utf-8") for file in files)
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in every, f"{path.name} names {name}"
    for name in re.findall(r"`(test_\w+\.py)`", text):
        assert name in {file.name for file in files}, f"{path.name} names {name}"


@every_current_document
def test_every_file_that_a_document_names_is_there(path: Path) -> None:
    names = re.findall(r"`([\w.-]+/[\w./-]*\.(?:py|json|md|txt|ipynb))`", path.read_text(encoding="utf-8"))
    for name in names:
        places = [ROOT, PACKAGE, path.parent]
        assert name.startswith("runs/") or any((place / name).exists() for place in places), f"{path.name} names {name}"


@every_current_document
def test_every_setting_that_a_document_names_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    keys = set(KINDS)
    groups = {key.partition(".")[0] for key in keys if "." in key}
    for key in re.findall(r"--config\.([\w.]+)", text):
        assert key in keys or key == "KEY", f"{path.name} names {key}"
    for key in re.findall(r"`([a-z]+\.[a-z_.0-9]+)(?:=[^`]*)?`", text):
        ends_in_a_file = key.endswith((".py", ".json", ".md", ".txt", ".png", ".gif", ".jsonl", ".npy", ".npz"))
        if key.partition(".")[0] in groups and not ends_in_a_file:
            assert key in keys, f"{path.name} names {key}"


@every_document
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", path.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), f"{path.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, f"{path.name} links to {target}"


def _anchor(heading: str) -> str:
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-")


def test_the_site_has_every_page_in_its_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2].partition("\n\n")[0]
    named = set(re.findall(r": ([\w/]+\.md)$", navigation, re.MULTILINE))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert named == pages


@pytest.mark.parametrize("name", ["configuration.md", "commands.md"])
def test_a_generated_page_is_what_the_code_gives(name: str) -> None:
    if name == "commands.md" and sys.version_info >= (3, 13):
        pytest.skip("argparse wraps its usage in another way")
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "docs" / "write_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written.strip() == module.pages()[name].strip(), "run `python docs/write_reference.py`"


def test_the_page_on_python_has_every_public_name_and_every_type_that_a_function_returns() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    documented = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    functions = [value for value in map(sg.__getattr__, sg._MODULES) if inspect.isfunction(value)]
    returned = [str(inspect.signature(function).return_annotation) for function in functions]
    types = {name for annotation in returned for name in re.findall(r"\b[A-Z]\w+", annotation)}
    assert not (types | set(sg._MODULES)) - documented


def test_the_page_on_architecture_has_the_law_and_every_module() -> None:
    assert f"\n{LAW}\n" in ARCHITECTURE
    tree = ARCHITECTURE[ARCHITECTURE.index("\nsharingan_jax/\n") : ARCHITECTURE.index("\nconfigs/ ")]
    top = set(re.findall(r"^  (\w+)  ", tree, re.MULTILINE))
    assert top == {path.stem for path in PACKAGE.glob("*.py")}
    packages = {name: modules.split() for name, modules in re.findall(r"^  ([\w/]+)/ .+\n {16}([\w ]+)$", tree, re.MULTILINE)}
    folders = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
    assert sorted(packages) == [folder.relative_to(PACKAGE).as_posix() for folder in folders]
    for name, modules in packages.items():
        found = sorted(path.stem for path in (PACKAGE / name).glob("*.py") if path.stem != "__init__")
        assert sorted(modules) == found, name


def test_the_table_of_faults_is_the_one_the_tests_look_into() -> None:
    document = faults.DOCUMENT.read_text(encoding="utf-8")
    assert document == faults.with_table(document), "run python tests/faults.py"
    for name in ("README.md", "docs/index.md"):
        assert re.search(rf"\b{len(faults.FAULTS)} faults\b", (ROOT / name).read_text(encoding="utf-8")), name


@pytest.mark.parametrize("key", faults.FAULTS)
def test_every_fault_is_looked_up_by_the_test_it_names(key: str) -> None:
    file, name = faults.FAULTS[key].test.split("::")
    source = (ROOT / file).read_text(encoding="utf-8")
    body = source[source.index(f"def {name}(") :].split("\n\n\n")[0]
    assert re.search(rf"FAULTS\[[\"']{key}[\"']\]", body), f"{file}::{name} does not look up FAULTS[{key!r}]"
