"""Train one run, or several seeds: from settings to finished runs. The command `train` and the Python API call these."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sharingan_jax.config.load import ConfigSource, load_config, with_absolute_paths
from sharingan_jax.devices.compile_cache import keep_compiled
from sharingan_jax.devices.environment import pin_environment
from sharingan_jax.devices.processes import Processes, report_lost_processes, stay_alone
from sharingan_jax.errors import Stopped, UserError
from sharingan_jax.files import user_path
from sharingan_jax.reporting.output import lasting
from sharingan_jax.run.continuation import common_host_threads, read_existing
from sharingan_jax.run.diff import differing_images
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.listing import name_config
from sharingan_jax.run.manifest import DataRecord, describe_data
from sharingan_jax.training.signals import StopRequest

if TYPE_CHECKING:
    from sharingan_jax.run.load import Run
    from sharingan_jax.training.setup import RunSetup


class FailedSeedsError(UserError):
    """Some of several seeds have failed. `failures` has the error of each, by seed."""

    def __init__(self, failures: Mapping[int, UserError], *, count: int) -> None:
        first, names = next(iter(failures.values())), ", ".join(map(str, failures))
        super().__init__(f"{len(failures)} of {count} seeds failed: {names}; the first of them: {first}")
        self.failures = dict(failures)


def train(config: ConfigSource, workdir: Path | str, *, stream: TextIO | None = None) -> "Run":
    """Train a run in the folder `workdir`, or continue the run that is there, and return it.

    `config` is what `load_config` takes: its result, a name ("quick"), a path or nested settings.

    Before JAX starts, this pins the environment that decides rounding (host threads, compiler flags), so that a run started from
    Python is as reproducible as one from the command line. Progress goes to `stream` (default: standard output). Raise
    UserError if the run cannot be made, continued or kept finite, and Stopped if a signal stopped it, after saving.
    """
    source, config = config, load_config(config)
    if config.train.seeds != 1:
        raise UserError(
            f"train.seeds={config.train.seeds}: expected 1, since train() makes one run. Use train_seeds() for several."
        )
    (run,) = train_seeds(config, workdir, stream=stream, source=source)
    return run


def train_seeds(
    config: ConfigSource,
    workdir: Path | str,
    *,
    join: Callable[[], Processes] = stay_alone,
    expected_data: DataRecord | None = None,
    stream: TextIO | None = None,
    watch: Callable[[int], object] = lambda step: None,
    source: ConfigSource | None = None,
) -> "list[Run]":
    """Train `train.seeds` runs, from seed `seed` on, and return them. Several lie in `workdir`/seed-0, seed-1, ...

    `config` is that of `train`. If it is the result of changing a configuration, `source` is that one: the first lines name it.

    A run whose values are not finite does not stop the others. `join` connects to the run's other processes. If the images
    differ from `expected_data`, UserError is raised. `watch` is called with each step that is done. Raise what `train` raises. If
    some of several seeds have failed, the error names them, after the others are done. Processes other than the primary one get
    no runs.
    """
    source = config if source is None else source
    config = load_config(config)
    name = name_config(config, source)
    groups = prepare(config, workdir, join=join, expected_data=expected_data, stream=stream)

    from sharingan_jax.run.load import load_run  # This imports JAX, so it comes after `prepare` has pinned the environment.

    processes = groups[0][0].processes
    try:
        with report_lost_processes(processes):
            out = lasting(stream or sys.stdout if processes.is_primary else None)
            _train_groups(groups, name=name, stream=out, watch=watch)
    except Stopped as stopped:
        if not processes.is_primary:
            stopped.args = ("",)  # Only the primary process reports.
        raise
    # Only the primary process has the folder: the others may be on machines that do not see it.
    return [load_run(setup.folder.root) for group in groups for setup in group if processes.is_primary]


def prepare(
    config: ConfigSource,
    workdir: Path | str,
    *,
    join: Callable[[], Processes] = stay_alone,
    expected_data: DataRecord | None = None,
    stream: TextIO | None = None,
    fetch: bool = True,
) -> "list[list[RunSetup]]":
    """Check all that can be checked before anything is written. Return the runs in groups that share a program.

    The arguments are those of `train_seeds`. Without `fetch`, a set that would have to be downloaded is an error. This pins the
    environment, so it must come before JAX starts. Raise UserError.
    """
    config = load_config(config)
    root, out = user_path(workdir, name="workdir"), lasting(stream or sys.stdout)
    seeds = range(config.seed, config.seed + config.train.seeds)
    folders = [RunFolder(root)] if len(seeds) == 1 else [RunFolder(root / f"seed-{seed}") for seed in seeds]
    if len(seeds) > 1 and RunFolder(root).config.is_file():
        raise UserError(f"workdir={root}: expected a folder for the runs of {len(seeds)} seeds, got a run's. Give another one.")
    config = with_absolute_paths(config)
    several = [read_existing(folder) for folder in folders]
    config = pin_environment(config, recorded=0 if config.train.host_threads else common_host_threads(several))
    keep_compiled()

    from sharingan_jax.data.sources.load import load_dataset_from_config  # JAX takes a second to import; so does this.
    from sharingan_jax.training.announce import describe_files
    from sharingan_jax.training.schedule import fit_batch_size
    from sharingan_jax.training.setup import setup_seeds

    processes = join()

    def say(line: str) -> None:
        if processes.is_primary:
            print(line, file=out, flush=True)

    dataset = load_dataset_from_config(config.data, fetch=fetch, say=say)
    asked, config = config.train.batch_size, fit_batch_size(config, dataset.count)
    for line in describe_files(dataset, place=config.data.path or "images"):
        say(line)
    if config.train.batch_size < asked:
        say(f"train.batch_size={asked}: batches have all {dataset.count} images, since data.small=ok")
    changed = differing_images(expected_data, describe_data(config, dataset)) if expected_data else []
    if changed:
        raise UserError(
            f"the manifest's run had other images (first: then, second: now): {'; '.join(changed)}; put them back, or use"
            " --config.data.path=DIR for a run on those in DIR"
        )
    return setup_seeds(config, dataset, several, processes=processes)


def _train_groups(groups: "Sequence[Sequence[RunSetup]]", *, name: str, stream: TextIO, watch: Callable[[int], object]) -> None:
    """Train group after group. Raise Stopped, or the UserErrors of runs that failed as one, after all others have ended."""
    from sharingan_jax.comparison.runs import write_run_report
    from sharingan_jax.training.announce import describe_end, describe_start
    from sharingan_jax.training.loop import train_group

    def say(line: str) -> None:
        print(line, file=stream, flush=True)

    count, processes = sum(map(len, groups)), groups[0][0].processes
    failures: dict[int, UserError] = {}
    say(describe_start(groups[0][0], seeds=count, name=name))
    with StopRequest() as stop:
        for number, group in enumerate(groups):
            if number and (stop.agreed or (stop.signal and processes.count == 1)):
                raise Stopped(stop.agreed or int(stop.signal or 0))  # It came after the last step of the group before.
            seeds = [setup.config.seed for setup in group]
            if count > 1:
                first = sum(map(len, groups[:number])) + 1
                which = f"{first}" if len(group) == 1 else f"{first} to {first + len(group) - 1}"
                say(f"seed {', '.join(map(str, seeds))} ({which} of {count})")
            start = time.monotonic()
            try:
                runs = train_group(group, stop=stop, stream=stream, watch=watch)
                failed = {run.setup.config.seed: run.failure for run in runs if run.failure}
            except UserError as error:
                if processes.count > 1:
                    raise  # The others may still be in this group.
                runs, failed = [], dict.fromkeys(seeds, error)
            failures |= failed
            for seed, failure in failed.items() if count > 1 else ():
                say(f"seed {seed}: {failure}")
            ended = [run for run in runs if run.manifest and not run.failure]
            for run in ended if processes.is_primary else ():
                write_run_report(run.setup.folder.root)
            if ended:
                say(describe_end(ended, seconds=time.monotonic() - start))
            if stop.agreed and not all(run.is_complete or run.failure for run in runs):
                raise Stopped(stop.agreed)
    if failures and count == 1:
        raise next(iter(failures.values()))
    if failures:
        raise FailedSeedsError(failures, count=count)
