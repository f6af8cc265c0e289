"""`sharingan-jax train`: train a configuration in a run's folder, or continue the run in it."""

import argparse
import textwrap
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharingan_jax.commands.arguments import WIDTH, Parser, add_process_flags, join_processes
from sharingan_jax.config.load import check_one_run, find_config, load_config
from sharingan_jax.config.reference import setting_reference
from sharingan_jax.config.schema import Config
from sharingan_jax.devices.processes import quiet_jax, started_together
from sharingan_jax.errors import UserError

if TYPE_CHECKING:
    from sharingan_jax.run.manifest import DataRecord

DESCRIPTION = """\
Train a configuration, or continue the run in --workdir.

  {prog} train --config quick
  {prog} train --config my_images --config.data.path=DIR
  {prog} train --config default --config.train.steps=400
  {prog} train --config default --config.train.seeds=8
  {prog} train --branch-from RUN@400 --workdir NEW

The first is a look in about a minute, on emblems drawn here. The second uses
your own images. The third is the published system with fewer steps, and the
fourth trains its seeds 0 to 7, each in a folder of its own. The last starts a
new run from another one's state, with other settings if you add them.
Start the same command again to continue where it stopped, also with more steps.
Ctrl-C, SIGTERM and SIGHUP (a lost terminal) save before they stop; a second
Ctrl-C stops at once.

To repeat a run from what it recorded, give its folder as the configuration:

  {prog} train --config runs/default/seed-0 --workdir again

Several processes train one run: give each the same command, the three flags
below and an index of its own. Under srun and mpirun, and on a TPU slice of
several hosts, start the command without these flags.
"""

EPILOG = """\
exit codes: 0 done; 2 the message says what to change; 129, 130 or 143
stopped by SIGHUP, Ctrl-C or SIGTERM, and saved
"""


def make_parser() -> Parser:
    """Return the parser. Its help lists every setting, with the default and the comment of `configs/default.py`."""
    parser = Parser("train", description=DESCRIPTION, epilog=f"{_settings_help()}\n\n{EPILOG}")
    config = "a configuration's name, a .py file, or a run's folder; default: default"
    parser.add_argument("--config", metavar="NAME", help=config)
    parser.add_path("--workdir", metavar="DIR", help="folder of the run, or of the seeds' runs; default: runs/NAME")
    branch = "start the run in --workdir from this run's state; its settings are the default"
    parser.add_path("--branch-from", metavar="DIR[@STEP]", help=branch)
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
    flags.config = find_config(_default_config(flags.branch_from) if flags.config is None else flags.config)
    config = load_config(flags.config, overrides)
    if flags.processes is not None or started_together():
        quiet_jax()

    from sharingan_jax.training.seeds import prepare, train_seeds  # Imports numpy: --help and mistakes do not wait for it.

    if flags.branch_from is not None:
        _branch(flags, config)
        if flags.dry_run:
            return 0
    if flags.workdir is None and flags.config.suffix == ".json":
        meant = "Give a new folder to repeat that run, or its own folder to continue it."
        raise UserError(f"--config={flags.config}: expected --workdir too, since this is a run's record. {meant}")
    workdir = flags.workdir or Path("runs") / flags.config.stem
    if flags.workdir is None and config.train.seeds == 1:
        workdir = workdir / f"seed-{config.seed}"
    call: dict[str, Any] = {"join": partial(join_processes, flags), "expected_data": _expected_data(flags.config, overrides)}
    if not flags.dry_run:
        train_seeds(config, workdir, source=flags.config, **call)
        return 0
    groups = prepare(config, workdir, **call, fetch=False)

    from sharingan_jax.commands.dry_run import describe  # Imports JAX, which `prepare` has set up.

    if groups[0][0].processes.is_primary:
        print(describe(groups))
    return 0


def _default_config(branch_from: Path | None) -> Path | str:
    """Return the settings of the run to branch from, or the default configuration."""
    if branch_from is None:
        return "default"
    from sharingan_jax.training.branch import split_source

    folder = split_source(branch_from)[0]
    config = folder / "config.json"
    if not config.is_file():
        check_one_run(folder)
        raise UserError(f"--branch-from={branch_from}: expected a run's folder, or DIR@STEP, found none.")
    return config


def _branch(flags: argparse.Namespace, config: Config) -> None:
    from sharingan_jax.training.branch import branch

    if flags.workdir is None:
        raise UserError(f"--branch-from={flags.branch_from}: expected --workdir too. Give a new folder for the branch.")
    if flags.coordinator or started_together():
        raise UserError("--branch-from: expected one process. Branch in one, then start all of them with this --workdir alone.")
    changes = branch(flags.branch_from, flags.workdir, config, dry_run=flags.dry_run)
    print("\n  ".join([f"branch of {flags.branch_from} in {flags.workdir} (then | now):", *(changes or ["no setting changed"])]))
    if flags.dry_run:
        print("nothing was written")


def _expected_data(path: Path, overrides: list[tuple[str, str]]) -> "DataRecord | None":
    """Return the images of the run whose manifest is the configuration, unless others are asked for."""
    if path.name != "manifest.json" or any(key.startswith("data.") for key, _ in overrides):
        return None
    from sharingan_jax.run.manifest import read_data_record

    record = path.with_name("data.json")
    return read_data_record(record) if record.is_file() else None
