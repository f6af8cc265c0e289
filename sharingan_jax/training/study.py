"""Train what a plan asks for and is not there yet, evaluate, report: `sg.compare`. Stopped, the same call continues."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from sharingan_jax.comparison.existing import check_same_images
from sharingan_jax.comparison.failures import Failures, is_settled, manifest_of
from sharingan_jax.comparison.plan import Plan, PlannedVariant, StudyRun, make_plan, title_of
from sharingan_jax.comparison.runs import Compared, report_on
from sharingan_jax.config.parse import checked
from sharingan_jax.config.schema import Config, Rule
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.sources.load import load_dataset_from_config
from sharingan_jax.errors import UserError, counted
from sharingan_jax.evaluation.defaults import ALWAYS, SAMPLES
from sharingan_jax.evaluation.evaluate import check_features, check_samples, feature_names, place_of
from sharingan_jax.files import make_folder, user_path
from sharingan_jax.reporting.output import lasting
from sharingan_jax.reporting.progress import duration, is_interactive
from sharingan_jax.run.manifest import Manifest
from sharingan_jax.training.forecast import forecast, steps_left
from sharingan_jax.training.schedule import fit_batch_size, make_schedule
from sharingan_jax.training.seeds import FailedSeedsError, train_seeds

LOG = "training.log"
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:,}/{total:,} steps{postfix}"


def compare(
    configs: Sequence[str | Path | Config],
    *,
    seeds: Sequence[int],
    workdir: Path | str,
    settings: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
    vary: Mapping[str, Sequence[Any]] | None = None,
    baseline: str | None = None,
    stacked: int = 1,
    features: Sequence[str] = ALWAYS,
    samples: int = SAMPLES,
    command: str = "",
    stream: TextIO | None = None,
) -> Compared:
    """Train every configuration with every seed, evaluate each run, and write `workdir`/report.html.

    What is there already is kept, so the same call continues after a stop. Each run lies in `workdir`/VARIANT/seed-N and is
    bit for bit what `train` makes; with `stacked` above 1 so many seeds share a program, which rounds differently. `settings`
    apply to all configurations; `vary` makes a variant of each combination of values. `baseline` names the variant that the
    others are compared with (default: the first). `features` and `samples` are those of `evaluate`. A run that fails or
    collapses is a result. `command` is what the report says remakes it (default: this call). Raise UserError, and Stopped at a
    signal.
    """
    root = user_path(workdir, name="workdir")
    features = feature_names(features)
    configs = [configs] if isinstance(configs, str | Path | Config) else configs
    plan = make_plan(configs, seeds, settings=settings, vary=vary, baseline=baseline)
    check_options(root, stacked=stacked, features=features, samples=samples)
    out = lasting(stream or sys.stdout)
    left = forecast(plan, root, features=features, samples=samples, stream=stream)
    if left.trains:
        print(left, file=out, flush=True)
    runs = train_plan(plan, root, stacked=stacked, then_seconds=left.evaluation_seconds, stream=stream)
    title = title_of([variant.name for variant in plan.variants])
    options = {"settings": dict(settings), "vary": dict(vary or {}), "baseline": baseline, "stacked": stacked}
    made_by = command or _as_call(configs, seeds, root, **options, features=tuple(features), samples=samples)
    made: dict[str, Any] = {"title": title, "command": made_by, "stream": stream}
    return report_on(runs, plan.variants[0].config.data, features=features, samples=samples, root=root, **made)


def check_options(root: Path, *, stacked: int, features: Sequence[str], samples: int) -> None:
    """Raise UserError if `compare` cannot work with these options, or in this folder. Nothing is written."""
    check_samples(samples)
    if not 1 <= checked("stacked", stacked, int, Rule()) <= 4096:
        raise UserError(f"stacked={stacked}: expected 1 to 4096 seeds in one program.")
    if root.exists() and not root.is_dir():
        raise UserError(f"workdir={root}: expected a folder, got a file. Give a new folder for the comparison.")
    if (root / "config.json").is_file():
        raise UserError(f"workdir={root}: is a run's folder. Give a new folder for the comparison.")
    check_features(features)


def _as_call(configs: Sequence[str | Path | Config], seeds: Sequence[int], root: Path, **options: Any) -> str:
    """Return the call that remakes the comparison, with the options that are not the defaults."""
    named = [f"config_{number}" if isinstance(one, Config) else repr(str(one)) for number, one in enumerate(configs, 1)]
    usual: dict[str, Any] = {"settings": {}, "vary": {}, "baseline": None, "stacked": 1, "features": ALWAYS, "samples": SAMPLES}
    more = "".join(f", {name}={value!r}" for name, value in options.items() if value != usual[name])
    return f"sharingan_jax.compare([{', '.join(named)}], seeds={list(seeds)!r}, workdir={str(root)!r}{more})"


def train_plan(
    plan: Plan, root: Path, *, stacked: int = 1, then_seconds: float = 0.0, stream: TextIO | None = None
) -> list[StudyRun]:
    """Train every run of the plan that is not complete, exactly as `train_seeds` does, and return all runs.

    The display's time left has `then_seconds` added, for what follows the training. `stacked` seeds share a program, which rounds
    differently; each manifest records it. Training's own lines go to `root`/training.log; `stream` gets one display for all. A
    run that fails is recorded and never tried again or dropped. Raise UserError if a run cannot be trained, and Stopped at a
    signal: the same call then continues.
    """
    out = lasting(stream or sys.stdout)
    failures = Failures(root)
    paths = [plan.path(root, variant, seed) for variant in plan.variants for seed in plan.seeds]
    there = {path: manifest for path in paths if (manifest := manifest_of(path)) is not None}
    check_same_images(there)
    parts = [(variant, part) for variant in plan.variants for part in _missing(plan, root, variant, failures, stacked=stacked)]
    count = _count_images(plan, there) if parts else 0
    last = {variant.name: _last_step(variant.config, count) for variant, _ in parts}
    make_folder(root)
    left = [steps_left([plan.path(root, variant, seed) for seed in part], last=last[variant.name]) for variant, part in parts]
    print(_describe_parts(plan, parts), file=out, flush=True)
    with _Display(out, total=sum(left), then_seconds=then_seconds) as display, (root / LOG).open("a", encoding="utf-8") as log:
        for number, (variant, part) in enumerate(parts, 1):
            numbers = {"last": last[variant.name], "done": sum(left[:number])}
            _train_part(plan, root, variant, part, failures, stacked=stacked, log=log, display=display, **numbers)
    return [
        StudyRun(variant.name, seed, plan.path(root, variant, seed), failures.get(plan.path(root, variant, seed)))
        for variant in plan.variants
        for seed in plan.seeds
    ]


def _count_images(plan: Plan, there: Mapping[Path, Manifest]) -> int:
    """Return the number of training images, the same for all variants. Raise UserError if the runs `there` had other images."""
    data = plan.variants[0].config.data
    dataset = load_dataset_from_config(data)
    for path, manifest in there.items():
        if manifest.data is not None and manifest.data.digest != dataset.digest:
            reason = f"these are not the images that {path} was trained on, so no figure would compare them"
            raise UserError(f"{place_of(data)}: {reason}. Put those back, or give a new folder.")
    return dataset.count


def _missing(plan: Plan, root: Path, variant: PlannedVariant, failures: Failures, *, stacked: int) -> list[tuple[int, ...]]:
    """Return the seeds of a variant that have to be trained, in parts that share one call and so one compiled program.

    The seeds of a part follow each other. If they are stacked, a part has at most `stacked` of them.
    """
    left = [
        seed
        for seed in sorted(plan.seeds)
        if not is_settled(plan.path(root, variant, seed), replace(variant.config, seed=seed), failures)
    ]
    parts: list[list[int]] = []
    for seed in left:
        if parts and parts[-1][-1] == seed - 1 and (stacked == 1 or len(parts[-1]) < stacked):
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return [tuple(part) for part in parts]


def _describe_parts(plan: Plan, parts: Sequence[tuple[PlannedVariant, tuple[int, ...]]]) -> str:
    count, missing = len(plan.variants) * len(plan.seeds), sum(len(part) for _, part in parts)
    if not missing:
        return f"{counted(count, 'run')} already trained"
    return f"training {missing} of {counted(count, 'run')}; their own lines go to {LOG}"


def _last_step(config: Config, count: int) -> int:
    """Return the last step of a run on `count` images."""
    config = fit_batch_size(config, count)
    batches = BatchPlan(count, batch_size=config.train.batch_size, seed=config.seed, last_batch=config.data.last_batch)
    return make_schedule(config, batches).total_steps


def _train_part(
    plan: Plan,
    root: Path,
    variant: PlannedVariant,
    part: tuple[int, ...],
    failures: Failures,
    *,
    stacked: int,
    log: TextIO,
    display: "_Display",
    last: int,
    done: int,
) -> None:
    """Train the seeds of a part to step `last`. At its end the display shows `done` steps, also if a run failed or collapsed."""
    waiting, before = list(part), last

    def say_end() -> None:
        seed = waiting.pop(0)
        manifest = manifest_of(plan.path(root, variant, seed))
        assert manifest is not None
        end = f"failed; {LOG} says why" if manifest.status == "failed" else f"{manifest.status} at step {manifest.step}"
        display.say(f"{variant.name}, seed {seed}: {end}")

    def watch(step: int) -> None:
        nonlocal before
        if stacked == 1 and step <= before:  # Another seed has started, and those before it have ended.
            while len(waiting) > 1 and _status(plan.path(root, variant, waiting[0])) != "running":
                say_end()
            display.show(f"{variant.name}, seed {waiting[0]}")
        before = step
        display.step(weight=len(part) if stacked > 1 else 1)

    display.show(f"{variant.name}, seed {_named(part)}")
    train = replace(variant.config.train, seeds=len(part), stacked_seeds=len(part) if stacked > 1 else 1)
    config = replace(variant.config, seed=part[0], train=train)
    folder = root / variant.folder if len(part) > 1 else plan.path(root, variant, part[0])
    try:
        train_seeds(config, folder, stream=log, watch=watch)
    except UserError as error:
        from sharingan_jax.training.recorder import NonFiniteError  # JAX has started now.

        reasons = error.failures if isinstance(error, FailedSeedsError) else {part[0]: error}
        own = {seed: reason for seed, reason in reasons.items() if isinstance(reason, NonFiniteError)}
        for seed, reason in own.items():
            failures.add(plan.path(root, variant, seed), str(reason))
        if len(own) < len(reasons):
            raise  # A full disk, too little memory or a wrong setting is no result. It can be mended, and the run tried again.
    display.settle(done)
    while waiting:
        say_end()


def _status(path: Path) -> str:
    manifest = manifest_of(path)
    return manifest.status if manifest else ""


def _named(part: tuple[int, ...]) -> str:
    return str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}"


class _Display:
    """One display for all runs: a bar over all steps on a terminal; everywhere a line for each run that has ended."""

    def __init__(self, stream: TextIO, *, total: int, then_seconds: float) -> None:
        self._stream, self._total, self._done, self._then_seconds = stream, total, 0, then_seconds
        self._start = time.monotonic()
        shown = is_interactive(stream) and total > 0
        self._bar = tqdm(total=total, file=stream, disable=not shown, dynamic_ncols=True, bar_format=BAR)

    def __enter__(self) -> "_Display":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, name: str) -> None:
        """Show the name of what is training now."""
        self._bar.set_description(name)

    def step(self, *, weight: int) -> None:
        """Take a step of `weight` runs."""
        self._done += weight
        self._bar.set_postfix_str(self._left(), refresh=False)
        self._bar.update(weight)

    def settle(self, done: int) -> None:
        """Count at least `done` steps: a run that failed or collapsed makes none of those that it had left."""
        self._bar.update(max(0, done - self._done))
        self._done = max(done, self._done)

    def say(self, line: str) -> None:
        """Print a line, with the time left for everything."""
        left = f" ({self._left()})" if 0 < self._done < self._total else ""
        if self._bar.disable:
            print(line + left, file=self._stream, flush=True)
        else:
            self._bar.write(line + left, file=self._stream)

    def _left(self) -> str:
        """Return the time left in words, with what follows the training."""
        if not self._done:
            return ""
        seconds = (self._total - self._done) * (time.monotonic() - self._start) / self._done
        return f"{duration(seconds + self._then_seconds)} left"


def describe_plan(
    plan: Plan,
    root: Path,
    *,
    stacked: int = 1,
    features: Sequence[str] = ALWAYS,
    samples: int = SAMPLES,
    stream: TextIO | None = None,
) -> str:
    """Return what `compare` would train and how long it would take, roughly. Nothing is written. Raise UserError as it would."""
    check_options(root, stacked=stacked, features=features, samples=samples)
    return str(forecast(plan, root, features=features, samples=samples, fetch=False, stream=stream))
