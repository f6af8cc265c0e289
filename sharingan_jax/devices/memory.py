"""Memory that the process has freed, given back to the system."""

import ctypes
import sys


def give_back_freed() -> None:
    """Returns to the system what was freed and kept for later; does nothing where the C library has no way to.

    glibc keeps hundreds of megabytes that compiling a program took, in as many heaps as there were threads.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
