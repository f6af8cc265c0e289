"""The lock file pins one exact, hashed version of each package, inside the ranges of requirements.txt."""

import re

from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PINNED = re.compile(r"^(?P<pin>[\w.-]+==\S+)(?: ;[^\\\n]*?)?(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE)


def _ranges() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_the_lock_file_pins_what_the_ranges_allow() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = [Requirement(found["pin"]) for found in PINNED.finditer(lock)]
    for wanted in _ranges():
        versions = [
            next(iter(pin.specifier)).version for pin in pins if canonicalize_name(pin.name) == canonicalize_name(wanted.name)
        ]
        assert versions, f"{wanted.name} is not in requirements.lock"
        assert all(wanted.specifier.contains(version) for version in versions), f"{wanted} and the lock's {versions}"


def test_every_pin_has_its_hashes_and_no_other_line_installs_anything() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not [found["pin"] for found in PINNED.finditer(lock) if not found["hashes"]]
    rest = PINNED.sub("", lock).splitlines()
    assert not [line for line in rest if line.strip() and not line.strip().startswith("#")]
