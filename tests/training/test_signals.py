"""Signals become a request to stop, and the old handlers are restored."""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from faults import FAULTS

from sharingan_jax.errors import Stopped
from sharingan_jax.training.signals import StopRequest, interrupts_between_imports


def test_the_first_signal_is_recorded_and_the_old_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        assert stop.signal is None
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        assert stop.agreed == 0  # Until the run's processes have agreed on it.
        assert Stopped(signal.SIGTERM).exit_code == 143
        signal.raise_signal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_ctrl_c_exits_at_once_even_while_python_cannot_handle_signals() -> None:
    """To Python a compilation is one instruction. So is this hash, which would take more than a minute."""
    program = """
import hashlib
from sharingan_jax.training.signals import StopRequest, interrupts_between_imports
with StopRequest():
    print("entered", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000)
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=10) == 130
        finally:
            process.kill()


@pytest.fixture
def heard_ctrl_c() -> Iterator[None]:
    """Python's own handling of Ctrl-C. A shell that starts the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_ctrl_c")
def test_ctrl_c_during_an_import_is_acted_on_when_the_import_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["import signal, time", "signal.raise_signal(signal.SIGINT)", "time.sleep(0.2)", "DONE = True"]
    (tmp_path / "interrupted_module.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.getsignal(signal.SIGINT)

    def interrupted() -> None:
        with interrupts_between_imports():
            importlib.import_module("interrupted_module")
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert FAULTS["import-interrupt"].seen == ""
    assert sys.modules.pop("interrupted_module").DONE
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("heard_ctrl_c")
def test_ctrl_c_in_a_finalizer_is_raised_again_where_it_is_heard() -> None:
    class Interrupted:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)
            for _ in range(1000):
                pass

    def work() -> None:
        with interrupts_between_imports():
            Interrupted()
            time.sleep(10)

    hook = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt):
        work()
    assert sys.unraisablehook is hook


def test_sigterm_lets_a_command_remove_its_unfinished_files() -> None:
    before, removed = signal.signal(signal.SIGTERM, signal.SIG_DFL), []

    def work() -> None:
        with interrupts_between_imports():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                removed.append("the unfinished file")

    with pytest.raises(Stopped, match="stopped by SIGTERM; everything saved so far is intact") as stopped:
        work()
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert removed
    assert signal.signal(signal.SIGTERM, before) == signal.SIG_DFL


def test_outside_the_main_thread_nothing_is_installed() -> None:
    heard: list[object] = []

    def enter() -> None:
        with StopRequest() as stop:
            heard.extend([stop.signal, signal.getsignal(signal.SIGTERM)])

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert heard == [None, signal.getsignal(signal.SIGTERM)]


def test_in_a_notebook_a_second_ctrl_c_interrupts_and_does_not_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_stop_request_leaves_no_thread_or_file() -> None:
    before = threading.active_count(), len(os.listdir("/dev/fd"))
    with StopRequest():
        assert threading.active_count() == before[0] + 1
    assert (threading.active_count(), len(os.listdir("/dev/fd"))) == before
