"""Signals become a request to stop, and the old handlers are restored."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

from sharingan_jax.errors import Stopped
from sharingan_jax.training.signals import StopRequest


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
from sharingan_jax.training.signals import StopRequest
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


def test_a_stop_request_leaves_no_thread_or_file() -> None:
    before = threading.active_count(), len(os.listdir("/dev/fd"))
    with StopRequest():
        assert threading.active_count() == before[0] + 1
    assert (threading.active_count(), len(os.listdir("/dev/fd"))) == before
