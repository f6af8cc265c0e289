"""`main.py verify`: do a run again, from what it noted of itself, and say whether it is the same to the bit."""

from collections.abc import Sequence
from pathlib import Path

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.config.load import load_config
from sharingan_jax.errors import Stopped, UserError
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.training.verify import Verdict, verify

DESCRIPTION = """\
Does a run again in a scratch folder, with its settings, pictures, threads and number of devices, and holds every figure of
metrics.jsonl, every tensor of those checkpoints that both wrote (the last always) and the digest against what it wrote. The run
itself is only read.

  python main.py verify --workdir runs/default/seed-0
  python main.py verify --workdir runs/default/seed-0 --from 700 --to 800
  python main.py verify --workdir runs/folder/seed-0 --config.data.path=where/the/pictures/are/now

exit codes: 0 the same to the bit; 1 not, with the first step and tensor that differ and what has changed since; 2 it cannot be
done again
"""
MAY_BE_OTHERS = ("data.path", "data.data_dir", "train.devices")
MOST_NAMED = 5


def run(arguments: list[str]) -> int:
    """Verifies; returns the exit code."""
    parser = Parser(prog="main.py verify", description=DESCRIPTION)
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--from", dest="start", type=int, metavar="A", help="begin at this checkpoint; default: at the beginning")
    parser.add_argument("--to", dest="end", type=int, metavar="B", help="end at this checkpoint; default: the last")
    flags, overrides = parser.parse(arguments)
    for key, _ in overrides:
        if key not in MAY_BE_OTHERS:
            others = ", ".join(MAY_BE_OTHERS)
            raise UserError(
                f"--config.{key}: verifying takes its settings from the run in --workdir; only {others} may be others"
            )
    changed_devices = any(key == "train.devices" for key, _ in overrides)
    config = load_config(RunFolder(flags.workdir).config, overrides) if overrides else None
    try:
        verdict = verify(flags.workdir, start=flags.start, end=flags.end, config=config, keep_devices=not changed_devices)
    except Stopped as stopped:
        print("stopped before its end: nothing is verified")
        return stopped.exit_code
    _tell(verdict)
    return 0 if verdict.same else 1


def _tell(verdict: Verdict) -> None:
    first, last = verdict.span.start + 1, verdict.span.end
    if verdict.images:
        print("not the same: the images have changed since the run (first: then, second: now):")
        _list(verdict.images)
        return
    if verdict.same:
        steps = ", ".join(map(str, verdict.compared))
        print(f"the same to the bit: the figures of steps {first} to {last}, the tensors after {steps}; digest {verdict.digest}")
    else:
        print(f"not the same: steps {first} to {last}")
    if verdict.metrics:
        print(f"figures differ from step {verdict.metrics[0]} on (then | now):")
        _list(verdict.metrics[1])
    if verdict.tensors:
        print(f"tensors differ in the checkpoint of step {verdict.tensors[0]}:")
        _list(verdict.tensors[1])
    if verdict.digests:
        print(f"the digest after step {last} was noted as {verdict.digests[0]} and is {verdict.digests[1]}")
    if verdict.environment:
        print("changed since the run (then | now):")
        _list(verdict.environment)
    elif not verdict.same:
        print("nothing that the run noted has changed since: neither versions, device, threads nor code")
    if verdict.span.start < verdict.recorded_from:
        print(f"(it noted nothing of the steps up to {verdict.recorded_from}, which may have run under others)")


def _list(lines: Sequence[str]) -> None:
    for line in lines[:MOST_NAMED]:
        print(f"  {line}")
    if len(lines) > MOST_NAMED:
        print(f"  and {len(lines) - MOST_NAMED} more")
