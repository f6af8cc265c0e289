"""`main.py verify`: do a run again, from what it noted of itself, and say whether it is the same to the bit."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.comparison import differing_pictures
from sharingan_jax.environment import settle_host_threads
from sharingan_jax.errors import UserError
from sharingan_jax.rundir import RunDir, describe_pictures, read_config, read_json

if TYPE_CHECKING:
    from sharingan_jax.verification import Verdict

DESCRIPTION = """\
Does a run again in a scratch folder, with its settings, pictures, threads and number of devices, and holds every figure of
metrics.jsonl and every tensor of its checkpoints against what it wrote. The run itself is only read.

  python main.py verify --workdir runs/default/seed-0
  python main.py verify --workdir runs/default/seed-0 --from 700 --to 800

exit codes: 0 the same to the bit; 1 not, with the first step and tensor that differ and what has changed since; 2 it cannot be
done again
"""
MOST_NAMED = 5


def run(arguments: list[str]) -> int:
    """Verifies; returns the exit code."""
    parser = Parser(prog="main.py verify", description=DESCRIPTION)
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--from", dest="start", type=int, metavar="A", help="begin at this checkpoint; default: at the beginning")
    parser.add_argument("--to", dest="end", type=int, metavar="B", help="end at this checkpoint; default: the last")
    flags, overrides = parser.parse(arguments)
    if overrides:
        raise UserError(f"--config.{overrides[0][0]}: verifying takes its settings from the run in --workdir")
    place = RunDir(flags.workdir)
    config = read_config(place)
    config = settle_host_threads(config, recorded=config.train.host_threads)

    from sharingan_jax.data.sources import load_pictures
    from sharingan_jax.verification import choose_span, verify

    span = choose_span(place, start=flags.start, end=flags.end)
    pictures = load_pictures(config.data)
    changed = differing_pictures(read_json(place.manifest), {"data": describe_pictures(config, pictures)})
    if changed:
        print("not the same: the pictures have changed since the run (first: then, second: now):")
        _list(changed)
        return 1
    with tempfile.TemporaryDirectory(prefix="sharingan-jax-verify-") as scratch:
        verdict = verify(place, config, pictures, span, scratch=Path(scratch), stream=sys.stderr)
    _tell(verdict)
    return 0 if verdict.same else 1


def _tell(verdict: "Verdict") -> None:
    span = f"steps {verdict.span.start + 1} to {verdict.span.end}"
    if verdict.same:
        print(f"the same to the bit: {span}, figures of {verdict.compared} steps, digest {verdict.digest}")
    else:
        print(f"not the same: {span}")
    if verdict.figures:
        print(f"figures differ from step {verdict.figures[0]} on (then | now):")
        _list(verdict.figures[1])
    if verdict.tensors:
        print(f"tensors differ in the checkpoint of step {verdict.tensors[0]}:")
        _list(verdict.tensors[1])
    if verdict.conditions:
        print("changed since the run (then | now):")
        _list(verdict.conditions)
    elif not verdict.same:
        print("nothing that was recorded has changed since the run: neither versions, device, threads nor code")


def _list(lines: list[str]) -> None:
    for line in lines[:MOST_NAMED]:
        print(f"  {line}")
    if len(lines) > MOST_NAMED:
        print(f"  and {len(lines) - MOST_NAMED} more")
