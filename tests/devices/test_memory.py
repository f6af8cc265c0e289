"""Freed memory is returned to the system if the C library can do that."""

import ctypes
import sys
from types import SimpleNamespace

import pytest

from sharingan_jax.devices.memory import trim_malloc


def test_freed_memory_is_returned_if_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(malloc_trim=asked.append))
    trim_malloc()
    assert asked == [0]


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_other_platforms_do_nothing(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())  # musl has no such function.
    trim_malloc()
