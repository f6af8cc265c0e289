"""`sharingan-jax train`: train a configuration in a run's folder, or continue the run in it."""

import argparse
import contextlib
import os
import signal
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sharingan_jax.commands.arguments import WIDTH, Parser, add_process_flags, join_processes, lost_processes_told
from sharingan_jax.config.load import find_config, load_config
from sharingan_jax.config.reference import setting_reference
from sharingan_jax.config.schema import Config
from sharingan_jax.errors import UserError

if TYPE_CHECKING:
    from sharingan_jax.data.dataset import Pictures
    from sharingan_jax.devices.processes import Processes
    from sharingan_jax.run.folder import RunDir
    from sharingan_jax.training.setup import Prepared

DESCRIPTION = """\
Train a configuration, or continue the run in --workdir.

  {prog} train --config default
  {prog} train --config folder --config.data.path=DIR
  {prog} train --config default --config.train.steps=400
  {prog} train --config default --config.train.seeds=8

The first is the published system on emblems drawn here, the second uses your
own images, the last trains seeds 0 to 7, each in a folder of its own. Start
the same command again to continue where it stopped, also with more steps.
Ctrl-C and SIGTERM save before they stop; a second Ctrl-C stops at once.

To repeat a run from what it recorded, give its folder as the configuration:

  {prog} train --config runs/default/seed-0 --workdir again

Several processes train one run: give each the same command, the three flags
below and an index of its own. Under srun and mpirun, and on a TPU slice of
several hosts, start the command without these flags.
"""

EPILOG = """\
exit codes: 0 done; 2 the message says what to change; 130 or 143 stopped by
Ctrl-C or SIGTERM, and saved
"""


def make_parser() -> Parser:
    """Return the parser. Its help lists every setting, with the default and the comment of `configs/default.py`."""
    parser = Parser("train", description=DESCRIPTION, epilog=f"{_settings_help()}\n\n{EPILOG}")
    parser.add_argument(
        "--config",
        default="default",
        metavar="NAME",
        help="a configuration's name, a .py file, or a run's folder; default: default",
    )
    parser.add_path("--workdir", metavar="DIR", help="folder of the run, or of the seeds' runs; default: runs/NAME")
    parser.add_argument("--dry-run", action="store_true", help="check everything and say what would happen; write nothing")
    parser.add_argument("--config.KEY", dest="unused", metavar="VALUE", help="change a setting; the keys are below")
    add_process_flags(parser)
    return parser


def _settings_help() -> str:
    """Return the settings, one paragraph each: `--config.KEY=DEFAULT`, then what it means."""
    lines = ["settings, with their defaults (post: the 2020 blog post and its code):"]
    for setting in setting_reference():
        lines.append(f"  --config.{setting.key}={setting.default}")
        lines += textwrap.wrap(setting.comment, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def run(arguments: list[str]) -> int:
    """Train; return the exit code."""
    flags, overrides = make_parser().parse(arguments)
    flags.config = find_config(flags.config)
    config = load_config(flags.config, overrides)

    from sharingan_jax.devices.compile_cache import keep_compiled  # JAX takes a second to import: mistakes do not wait for it.
    from sharingan_jax.devices.environment import settle_environment

    folders = {seed: _folder(flags, config, seed) for seed in range(config.seed, config.seed + config.train.seeds)}
    config = settle_environment(config, recorded=_threads_of(config, folders.values()))
    keep_compiled()

    from sharingan_jax.data.sources.load import load_pictures
    from sharingan_jax.training.setup import prepare_seeds

    processes = join_processes(flags)
    with contextlib.ExitStack() as stack:
        stream = sys.stdout if processes.is_first else stack.enter_context(Path(os.devnull).open("w"))
        pictures = load_pictures(config.data)
        if pictures.skipped:
            print(f"{config.data.path}: {len(pictures.skipped)} files are not pictures and were skipped", file=stream)
        if not any(key.startswith("data.") for key, _ in overrides):
            _check_pictures_of(flags.config, config, pictures)
        groups = prepare_seeds(config, pictures, folders.__getitem__, processes=processes)
        if flags.dry_run:
            from sharingan_jax.commands.dry_run import describe

            processes.first_does(lambda: print(describe(groups)))
            return 0
        with lost_processes_told(processes):
            exit_code = _train(groups, processes, stream=stream)
        if exit_code:
            print(f"stopped by {signal.Signals(exit_code - 128).name}; the same command continues from here", file=stream)
    return exit_code


def _folder(flags: argparse.Namespace, config: Config, seed: int) -> "RunDir":
    from sharingan_jax.run.folder import RunDir

    if flags.workdir and config.train.seeds == 1:
        return RunDir(flags.workdir)
    return RunDir((flags.workdir or Path("runs") / flags.config.stem) / f"seed-{seed}")


def _threads_of(config: Config, folders: "Iterable[RunDir]") -> int:
    """The threads that the runs began with; 0 where none has begun. Raises UserError where they began with several numbers."""
    from sharingan_jax.run.folder import recorded_threads

    recorded = {threads: folder.root for folder in folders if (threads := recorded_threads(folder))}
    if len(recorded) > 1 and not config.train.host_threads:
        said = " and ".join(f"{root} with {threads}" for threads, root in recorded.items())
        raise UserError(
            f"{said} threads: one start has one number, which enters roundings; start them apart, or say"
            f" --config.train.host_threads={min(recorded)}"
        )
    return min(recorded, default=0)


def _train(groups: "list[list[Prepared]]", processes: "Processes", *, stream: TextIO) -> int:
    """Trains group after group; the exit code of the one that was stopped, or 0.

    Raises the UserErrors of runs that stopped by themselves as one, after all others have ended; each is told when it comes.
    """
    from sharingan_jax.training.loop import Outcome, train_group
    from sharingan_jax.training.signals import StopRequest

    count = sum(map(len, groups))
    failures: dict[int, UserError] = {}
    with StopRequest() as stop:
        for number, group in enumerate(groups):
            seeds = [ready.config.seed for ready in group]
            asked = stop.agreed or (stop.signal if processes.count == 1 else 0)
            if asked and number:  # It came when the last step of the group before was done.
                return 128 + asked
            if count > 1:
                first = sum(map(len, groups[:number])) + 1
                which = f"{first}" if len(group) == 1 else f"{first} to {first + len(group) - 1}"
                print(f"seed {', '.join(map(str, seeds))} ({which} of {count})", file=stream, flush=True)
            outcomes: list[Outcome | UserError]
            try:
                outcomes = train_group(group, stop=stop, stream=stream)
            except UserError as error:
                outcomes = [error] * len(group)
            for seed, outcome in zip(seeds, outcomes, strict=True):
                if isinstance(outcome, UserError):
                    failures[seed] = outcome
                    if count > 1:
                        print(f"seed {seed}: {outcome}", file=stream, flush=True)
            stopped = [outcome.exit_code for outcome in outcomes if isinstance(outcome, Outcome) and outcome.exit_code]
            if stopped:
                return stopped[0]
    if failures:
        raise _as_one(failures, count=count)
    return 0


def _as_one(failures: dict[int, UserError], *, count: int) -> UserError:
    first, seeds = next(iter(failures.values())), ", ".join(map(str, failures))
    return (
        first if count == 1 else UserError(f"{len(failures)} of {count} seeds are not done: {seeds}; the first of them: {first}")
    )


def _check_pictures_of(path: Path, config: Config, pictures: "Pictures") -> None:
    """Raises UserError where `path` is the manifest of a run on other pictures than these."""
    from sharingan_jax.run.diff import differing_pictures
    from sharingan_jax.run.folder import describe_pictures, read_manifest

    noted = read_manifest(path) if path.suffix == ".json" else {}
    changed = differing_pictures(noted, {"data": describe_pictures(config, pictures)}) if "versions" in noted else []
    if changed:
        raise UserError(
            f"--config={path}: that run's pictures were others (first: then, second: now): {'; '.join(changed)};"
            " put them back, or say --config.data.path=DIR for a run on those in DIR"
        )
