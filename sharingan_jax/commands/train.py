"""`main.py [train]`: train a configuration in a run folder, or continue the run that is there."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sharingan_jax.commands.arguments import Parser, add_process_flags, join_processes, lost_processes_told
from sharingan_jax.config.load import load_config
from sharingan_jax.config.schema import Config
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.devices.compile_cache import keep_compiled
from sharingan_jax.devices.environment import settle_environment
from sharingan_jax.devices.processes import Processes
from sharingan_jax.errors import UserError
from sharingan_jax.run.diff import differing_pictures
from sharingan_jax.run.folder import RunDir, describe_pictures, read_manifest, recorded_threads
from sharingan_jax.training.signals import StopRequest

if TYPE_CHECKING:
    from sharingan_jax.training.setup import Prepared

DESCRIPTION = """\
Trains a configuration. Every setting of configs/default.py can be changed on the command line:

  python main.py --config configs/default.py                              the published system, on the embedded pictures
  python main.py --config configs/folder.py --config.data.path=pictures   your own pictures
  python main.py --config configs/default.py --config.seed=1 --config.train.steps=400
  python main.py --config configs/default.py --config.train.seeds=8       seeds 0 to 7, each in a folder of its own
  python main.py --config runs/default/seed-0/manifest.json --workdir runs/again   a run again, from what it noted of itself

  python main.py --config configs/default.py --config.train.batch_size=24 --coordinator host0:1234 --processes 2 --process 0
                                                                          one of two processes that train together

Under srun, under mpirun and on a TPU slice whose TPU_WORKER_HOSTNAMES names several hosts the processes find each other: the same
command for each.

The same command again continues where it stopped, also with more steps asked for. Ctrl-C and SIGTERM save first; a second
Ctrl-C leaves at once.

other commands:
  python main.py sample --help        draw pictures from a trained run
  python main.py export --help        PyTorch weights, a replay kit, or a portable sampler from a run
  python main.py import --help        a run from PyTorch weights
  python main.py verify --help        do a run again and hold it against what it wrote
  python main.py diff --help          what differs between two runs
"""

EPILOG = """\
exit codes: 0 done; 2 the message says what to change; 130, 143 stopped by Ctrl-C, SIGTERM, and saved
"""


def run(arguments: list[str]) -> int:
    """Trains; returns the exit code."""
    parser = Parser(prog="main.py", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "--config", type=Path, default=Path("configs/default.py"), metavar="FILE", help="default: configs/default.py"
    )
    parser.add_argument("--workdir", type=Path, metavar="DIR", help="the run's folder, or that of several seeds' folders")
    parser.add_argument("--dry-run", action="store_true", help="check everything and print what would happen; write nothing")
    parser.add_argument("--config.KEY", dest="unused", metavar="VALUE", help="change a setting, such as --config.train.steps=400")
    add_process_flags(parser)
    flags, overrides = parser.parse(arguments)
    config = load_config(flags.config, overrides)
    folders = {seed: _folder(flags, config, seed) for seed in range(config.seed, config.seed + config.train.seeds)}
    config = settle_environment(config, recorded=_threads_of(config, folders.values()))
    keep_compiled()

    from sharingan_jax.data.sources.load import (
        load_dataset_from_config,  # JAX takes a second to import: a mistyped setting does not wait for it.
    )
    from sharingan_jax.training.setup import prepare_seeds

    processes = join_processes(flags)
    with contextlib.ExitStack() as stack:
        stream = sys.stdout if processes.is_first else stack.enter_context(Path(os.devnull).open("w"))
        pictures = load_dataset_from_config(config.data)
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


def _folder(flags: argparse.Namespace, config: Config, seed: int) -> RunDir:
    if flags.workdir and config.train.seeds == 1:
        return RunDir(flags.workdir)
    return RunDir((flags.workdir or Path("runs") / flags.config.stem) / f"seed-{seed}")


def _threads_of(config: Config, folders: Iterable[RunDir]) -> int:
    """The threads that the runs began with; 0 where none has begun. Raises UserError where they began with several numbers."""
    recorded = {threads: folder.root for folder in folders if (threads := recorded_threads(folder))}
    if len(recorded) > 1 and not config.train.host_threads:
        said = " and ".join(f"{root} with {threads}" for threads, root in recorded.items())
        raise UserError(
            f"{said} threads: one start has one number, which enters roundings; start them apart, or say"
            f" --config.train.host_threads={min(recorded)}"
        )
    return min(recorded, default=0)


def _train(groups: "list[list[Prepared]]", processes: Processes, *, stream: TextIO) -> int:
    """Trains group after group; the exit code of the one that was stopped, or 0.

    Raises the UserErrors of runs that stopped by themselves as one, after all others have ended; each is told when it comes.
    """
    from sharingan_jax.training.loop import Outcome, train_group

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


def _check_pictures_of(path: Path, config: Config, pictures: ImageDataset) -> None:
    """Raises UserError where `path` is the manifest of a run on other pictures than these."""
    noted = read_manifest(path) if path.suffix == ".json" else {}
    changed = differing_pictures(noted, {"data": describe_pictures(config, pictures)}) if "versions" in noted else []
    if changed:
        raise UserError(
            f"--config={path}: that run's pictures were others (first: then, second: now): {'; '.join(changed)};"
            " put them back, or say --config.data.path=DIR for a run on those in DIR"
        )
