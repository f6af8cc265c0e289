"""`sharingan-jax runs`: list the runs below a folder."""

import time

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.run.listing import RunEntry, list_runs

DESCRIPTION = """\
List the runs below a folder: status, steps done and planned, seed, the nearest
configuration (+2: two settings are others), and when the run last wrote.

  {prog} runs
  {prog} runs DIR

`interrupted` is a run whose process ended without saying so: start the command
of the run again to continue it.
"""
COLUMNS = ("status", "step", "seed", "config", "age", "run")
UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("runs", description=DESCRIPTION)
    parser.add_path("folder", nargs="?", default="runs", metavar="DIR", help="the folder; default: runs")
    return parser


def run(arguments: list[str]) -> int:
    """Print the list; return the exit code."""
    flags, _ = make_parser().parse(arguments, settings_from="the runs")
    entries = list_runs(flags.folder)
    if not entries:
        print(f"no runs in {flags.folder}")
        return 0
    rows = [COLUMNS, *(_row(entry) for entry in entries)]
    *widths, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    for *cells, path in rows:
        print("  ".join([*(f"{text:<{width}}" for text, width in zip(cells, widths, strict=True)), path]))
    return 0


def _row(entry: RunEntry) -> tuple[str, ...]:
    steps = f"{entry.step}/{entry.total_steps}" if entry.total_steps else str(entry.step)
    seed = "-" if entry.seed is None else str(entry.seed)
    return entry.status, steps, seed, entry.config, _age(time.time() - entry.modified), str(entry.path)


def _age(seconds: float) -> str:
    for length, unit in UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(int(seconds), 0)} s"
