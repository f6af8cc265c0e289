"""Tables in the documents that scripts make and tests check."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MadeTable:
    """A table in a document, between two comments that mark it."""

    path: Path
    begin: str
    end: str

    def marked(self, lines: Sequence[str]) -> str:
        """Return the lines of the table between the marks."""
        return "\n".join([self.begin, *lines, self.end])

    def put(self, table: str, document: str) -> str:
        """Return the document with `table`, which has the marks, in place of its own."""
        before, rest = document.split(self.begin)
        return before + table + rest.split(self.end)[1]

    def write(self, table: str) -> None:
        """Put the table into the file."""
        self.path.write_text(self.put(table, self.path.read_text(encoding="utf-8")), encoding="utf-8")
