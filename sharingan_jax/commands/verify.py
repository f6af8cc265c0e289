"""`sharingan-jax verify`: repeat a run from what it recorded, and check that it is bitwise identical."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sharingan_jax.commands.arguments import WIDTH, Parser
from sharingan_jax.errors import Stopped, UserError, counted

if TYPE_CHECKING:
    from sharingan_jax.training.verify import Verdict

DESCRIPTION = """\
Repeat a run in a scratch folder with its settings, images, threads and number
of devices. Compare every metric of metrics.jsonl, every tensor of every
checkpoint, the pixels of every sample grid and the digest, and check that the
run's files agree with each other. The run itself is only read.

  {prog} verify --workdir RUN
  {prog} verify --workdir RUN --from 700 --to 800
  {prog} verify --workdir RUN --config.data.path=DIR

The last is for images that have moved since.

exit codes: 0 bitwise identical; 1 not, with the first step and tensor that
differ and what has changed since, or with the files that were edited or damaged
after the run; 2 the run cannot be repeated
"""
MAY_BE_OTHERS = ("data.path", "data.data_dir", "train.devices")
MOST_NAMED = 5
DIGITS = 12  # of a digest, as training shows it


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("verify", description=DESCRIPTION)
    parser.add_path("--workdir", required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--from", dest="start", type=int, metavar="A", help="start at this checkpoint; default: at step 0")
    parser.add_argument("--to", dest="end", type=int, metavar="B", help="end at this checkpoint; default: the last")
    parser.add_argument("--config.KEY", dest="unused", metavar="VALUE", help=f"change {', '.join(MAY_BE_OTHERS)}")
    return parser


def run(arguments: list[str]) -> int:
    """Verify; return the exit code."""
    flags, overrides = make_parser().parse(arguments)
    for key, _ in overrides:
        if key not in MAY_BE_OTHERS:
            only = f"Only {', '.join(MAY_BE_OTHERS)} may change."
            raise UserError(f"--config.{key}: verify takes its settings from the run in --workdir. {only}")

    from sharingan_jax.config.load import load_config
    from sharingan_jax.run.folder import RunFolder, read_config
    from sharingan_jax.training.verify import verify

    keep_devices = "train.devices" not in dict(overrides)
    config = load_config(read_config(RunFolder(flags.workdir)), overrides) if overrides else None
    try:
        verdict = verify(flags.workdir, start=flags.start, end=flags.end, config=config, keep_devices=keep_devices)
    except Stopped as stopped:
        print("stopped before the end: nothing is verified")
        return stopped.exit_code
    _tell(verdict)
    return 0 if verdict.same else 1


def _tell(verdict: "Verdict") -> None:
    first, last = verdict.span.start + 1, verdict.span.end
    if verdict.images:
        _print_list("different: the images have changed since the run (first: then, second: now):", verdict.images)
        return
    if verdict.same:
        print(f"bitwise identical: steps {first} to {last}, digest {verdict.digest[:DIGITS]}")
        _print_item("the metrics of every step")
        _print_item(f"the tensors of each checkpoint: {', '.join(map(str, verdict.compared))}")
        _print_item(f"the pixels of {counted(len(verdict.compared_grids), 'sample grid')}")
    elif verdict.was_edited:
        print(f"edited or damaged: steps {first} to {last} give the run's weights again, but its files say something else")
    else:
        print(f"different: steps {first} to {last}")
    if verdict.contradictions:
        _print_list("files that contradict each other (found | expected):", verdict.contradictions)
    if verdict.grids:
        _print_list("sample grids differ:", verdict.grids)
    if verdict.metrics:
        _print_list(f"metrics differ from step {verdict.metrics[0]} on (then | now):", verdict.metrics[1])
    if verdict.tensors:
        _print_list(f"tensors differ in the checkpoint of step {verdict.tensors[0]}:", verdict.tensors[1])
    if verdict.digests:
        then, now = (digest[:DIGITS] for digest in verdict.digests)
        print(f"digests differ after step {last}: {then} | {now}")
    if verdict.environment:
        _print_list("changed since the run (then | now):", verdict.environment)
    elif not verdict.same and not verdict.was_edited:
        print("nothing that the run recorded has changed since: versions, device, threads and code are the same")
    print("not compared:")
    for item in verdict.not_compared:
        _print_item(item)
    if verdict.span.start < verdict.recorded_from:
        print(f"(the run did not record its environment for the steps up to {verdict.recorded_from})")


def _print_item(text: str) -> None:
    print(textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))


def _print_list(title: str, lines: Sequence[str]) -> None:
    more = [f"and {len(lines) - MOST_NAMED} more"] if len(lines) > MOST_NAMED else []
    print("\n  ".join([title, *lines[:MOST_NAMED], *more]))
