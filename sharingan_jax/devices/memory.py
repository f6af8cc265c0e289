"""Memory that the process has freed but not yet returned to the system."""

import ctypes
import sys


def trim_malloc() -> None:
    """Return freed memory to the system, if the C library can; else do nothing.

    glibc keeps hundreds of megabytes that compiling a program took, in as many heaps as there were threads.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
