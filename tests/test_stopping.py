"""Signals become a question; handlers are given back."""

import signal
import subprocess
import sys

from conftest import ROOT

from sharingan_jax.stopping import StopRequest


def test_the_first_signal_is_noted_and_the_old_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        assert stop.exit_code == 0
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        assert stop.exit_code == 0  # Until the run's processes have agreed on it.
        stop.agreed = signal.SIGTERM
        assert stop.exit_code == 143
        signal.raise_signal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_ctrl_c_leaves_at_once() -> None:
    program = """
import signal
from sharingan_jax.stopping import StopRequest
with StopRequest():
    signal.raise_signal(signal.SIGINT)
    print("once", flush=True)
    signal.raise_signal(signal.SIGINT)
    print("never")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "once\n")
