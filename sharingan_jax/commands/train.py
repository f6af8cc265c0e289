"""`main.py [train]`: train a configuration in a run folder, or continue the run that is there."""

from functools import partial
from pathlib import Path
from typing import Any

from sharingan_jax.commands.arguments import Parser, add_process_flags, join_processes
from sharingan_jax.config.load import load_config
from sharingan_jax.config.schema import Config
from sharingan_jax.run.manifest import DataRecord, read_data_record
from sharingan_jax.training.seeds import prepare, train_seeds

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
    workdir = flags.workdir or Path("runs") / flags.config.stem
    if flags.workdir is None and config.train.seeds == 1:
        workdir = workdir / f"seed-{config.seed}"
    call: dict[str, Any] = {"join": partial(join_processes, flags), "expected_data": _expected_data(flags.config, overrides)}
    if flags.dry_run:
        return _dry_run(config, workdir, call)
    train_seeds(config, workdir, **call)
    return 0


def _dry_run(config: Config, workdir: Path, call: dict[str, Any]) -> int:
    groups = prepare(config, workdir, **call)

    from sharingan_jax.commands.dry_run import describe

    if groups[0][0].processes.is_primary:
        print(describe(groups))
    return 0


def _expected_data(path: Path, overrides: list[tuple[str, str]]) -> DataRecord | None:
    """Return the images of the run whose manifest is the configuration, unless others are asked for."""
    if path.name != "manifest.json" or any(key.startswith("data.") for key, _ in overrides):
        return None
    record = path.with_name("data.json")
    return read_data_record(record) if record.is_file() else None
