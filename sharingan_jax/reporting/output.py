"""Text output that never ends a run: its reader may leave, its disk may be full, its encoding may lack characters."""

import codecs
import os
from typing import Any, TextIO, cast

PLAIN = {"×": "x", "–": "-", "−": "-", "…": "..."}
"""What stands for a character that a console cannot show; any other one becomes a question mark."""


class Output:
    """A text stream that writes to the stream `inner`, and to nowhere once that has failed."""

    def __init__(self, inner: TextIO | None) -> None:
        self.inner = inner

    def write(self, text: str) -> int:
        """Write `text`, and return its length."""
        if self.inner is not None:
            encoding = getattr(self.inner, "encoding", None) or "utf-8"
            try:
                self.inner.write(text.encode(encoding, "plain").decode(encoding))
            except (OSError, ValueError):  # A broken pipe or a full disk; a closed file.
                self._abandon()
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if it still takes text."""
        if self.inner is not None:
            try:
                self.inner.flush()
            except (OSError, ValueError):
                self._abandon()

    def close(self) -> None:
        """Flush and close nothing: the stream belongs to who opened it. A logger that kept this one closes it at the end."""
        self.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self.inner is not None and not self.inner.closed and self.inner.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def _abandon(self) -> None:
        """Lead what the stream still holds, and what the interpreter flushes at its end, to nowhere."""
        stream, self.inner = self.inner, None
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, cast(TextIO, stream).fileno())
            os.close(nowhere)
        except (OSError, ValueError):  # It has no file, or a closed one.
            pass


def lasting(stream: TextIO | None) -> TextIO:
    """Return `stream` as one that never raises. None is what Python gives a process without that stream."""
    return stream if isinstance(stream, Output) else cast(TextIO, Output(stream))


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end


codecs.register_error("plain", _plain)
