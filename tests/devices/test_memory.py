"""Freed memory goes back to the system, where the C library can do that."""

import ctypes
import sys
from types import SimpleNamespace

import pytest

from sharingan_jax.devices.memory import trim_malloc


def test_freed_blocks_are_given_back_once_where_there_is_a_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(malloc_trim=asked.append))
    trim_malloc()
    assert asked == [0]


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())  # As musl's, which has no such function.
    trim_malloc()
