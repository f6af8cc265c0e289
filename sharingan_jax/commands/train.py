"""`main.py [train]`: train a configuration in a run folder, or continue the run that is there."""

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sharingan_jax.commands.arguments import Parser, add_process_flags, join_processes, lost_processes_told
from sharingan_jax.comparison import differing_pictures
from sharingan_jax.compile_cache import keep_compiled
from sharingan_jax.config import Config
from sharingan_jax.config_files import load_config
from sharingan_jax.data.pictures import Pictures
from sharingan_jax.environment import settle_environment
from sharingan_jax.errors import UserError
from sharingan_jax.rundir import RunDir, describe_pictures, read_manifest, recorded_threads

if TYPE_CHECKING:
    from sharingan_jax.prepared import Prepared

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
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="the run's folder, or that of several seeds' folders",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything and print what would happen; write nothing")
    parser.add_argument("--config.KEY", dest="unused", metavar="VALUE", help="change a setting, such as --config.train.steps=400")
    add_process_flags(parser)
    flags, overrides = parser.parse(arguments)
    config = load_config(flags.config, overrides)
    folders = {seed: _folder(flags, config, seed) for seed in range(config.seed, config.seed + config.train.seeds)}
    recorded = next((threads for threads in map(recorded_threads, folders.values()) if threads), 0)
    config = settle_environment(config, recorded=recorded)
    keep_compiled()

    from sharingan_jax.data.sources import load_pictures  # JAX takes a second to import: a mistyped setting does not wait for it.
    from sharingan_jax.prepared import prepare_seeds

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
            from sharingan_jax.commands.plan import describe

            processes.first_does(lambda: print(describe(groups)))
            return 0
        with lost_processes_told(processes):
            exit_code = _train(groups, stream=stream)
        if exit_code:
            print(f"stopped by {signal.Signals(exit_code - 128).name}; the same command continues from here", file=stream)
    return exit_code


def _folder(flags: argparse.Namespace, config: Config, seed: int) -> RunDir:
    if flags.workdir and config.train.seeds == 1:
        return RunDir(flags.workdir)
    return RunDir((flags.workdir or Path("runs") / flags.config.stem) / f"seed-{seed}")


def _train(groups: "list[list[Prepared]]", *, stream: TextIO) -> int:
    """Trains group after group; the exit code of the one that was stopped, or 0.

    Raises the UserError of a run that stopped for its own figures, after all others have ended.
    """
    from sharingan_jax.loop import train_group

    count, failures = sum(map(len, groups)), []
    for group in groups:
        if count > 1:
            seeds = ", ".join(str(ready.config.seed) for ready in group)
            print(f"seed {seeds} of {count} seeds: {group[0].run.root.parent}", file=stream, flush=True)
        for outcome in train_group(group, stream=stream):
            if isinstance(outcome, UserError):
                failures.append(outcome)
            elif outcome.exit_code:
                return outcome.exit_code
    if failures:
        more = "" if count == 1 else f" ({len(failures)} of {count} seeds stopped so; the others are done)"
        raise UserError(f"{failures[0]}{more}")
    return 0


def _check_pictures_of(path: Path, config: Config, pictures: Pictures) -> None:
    """Raises UserError where `path` is the manifest of a run on other pictures than these."""
    noted = read_manifest(path) if path.suffix == ".json" else {}
    changed = differing_pictures(noted, {"data": describe_pictures(config, pictures)}) if "versions" in noted else []
    if changed:
        raise UserError(
            f"--config={path}: that run's pictures were others (first: then, second: now): {'; '.join(changed)};"
            " put them back, or say --config.data.path=DIR for a run on those in DIR"
        )
