"""What the documents name is there."""

import re
from pathlib import Path

import faults
import pytest
from conftest import ROOT

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{path.name} names {file}::{name}"
    every = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in every, f"{path.name} names {name}"


def test_the_table_of_faults_is_the_one_the_tests_look_into() -> None:
    document = faults.DOCUMENT.read_text(encoding="utf-8")
    assert document == faults.with_table(document), "run python tests/faults.py"


@pytest.mark.parametrize("key", faults.FAULTS)
def test_every_fault_is_looked_up_by_the_test_it_names(key: str) -> None:
    file, name = faults.FAULTS[key].test.split("::")
    source = (ROOT / file).read_text(encoding="utf-8")
    body = source[source.index(f"def {name}(") :].split("\n\n\n")[0]
    assert re.search(rf"FAULTS\[[\"']{key}[\"']\]", body), f"{file}::{name} does not look up FAULTS[{key!r}]"
