"""What a comparison still has to train and to evaluate, and how long that takes, roughly."""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from sharingan_jax.comparison.failures import Failures, is_settled
from sharingan_jax.comparison.plan import Plan, PlannedVariant
from sharingan_jax.comparison.runs import without_evaluation
from sharingan_jax.errors import counted
from sharingan_jax.evaluation.defaults import ALWAYS, SAMPLES
from sharingan_jax.evaluation.evaluate import load_reference, row_count
from sharingan_jax.reporting.progress import duration
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.training.seeds import prepare


@dataclass(frozen=True)
class VariantForecast:
    """How many runs of a variant are missing, their steps in all, and the seconds to train them."""

    variant: PlannedVariant
    missing: int
    steps: int
    seconds: float

    def __str__(self) -> str:
        """Return it in words."""
        runs, time = counted(self.missing, "run"), duration(self.seconds)
        return f"  {self.variant.name}: {runs} to train, {self.steps:,} steps, roughly {time}"


@dataclass(frozen=True)
class Forecast:
    """What is left of a comparison: the training of each variant, and evaluations with the seconds that they take together."""

    variants: tuple[VariantForecast, ...]
    evaluations: int
    evaluation_seconds: float

    @property
    def trains(self) -> bool:
        """Whether any run is missing."""
        return any(each.missing for each in self.variants)

    def __str__(self) -> str:
        """Return it in words: a line for each variant with missing runs, and one for everything."""
        if not self.evaluations:
            return "nothing is left to train or to evaluate"
        lines = [str(each) for each in self.variants if each.missing]
        total = duration(sum(each.seconds for each in self.variants) + self.evaluation_seconds)
        lines.append(f"roughly {total} in all on two cores, with {counted(self.evaluations, 'evaluation')}, without compiling")
        return "\n".join(lines)


def forecast(
    plan: Plan,
    root: Path,
    *,
    features: Sequence[str] = ALWAYS,
    samples: int = SAMPLES,
    fetch: bool = True,
    stream: TextIO | None = None,
) -> Forecast:
    """Return what `compare` would still do in `root`. The seconds are rough, for two cores, without compiling.

    Everything that `train` checks is checked; nothing is written, except that images are downloaded if they have to be. Without
    `fetch` that is an error. It starts JAX. Raise UserError as `compare` would.
    """
    failures = Failures(root)
    notices: TextIO = stream or sys.stdout
    variants, sets, settled = [], [], []
    for variant in plan.variants:
        missing = []
        for seed in plan.seeds:
            path, config = plan.path(root, variant, seed), replace(variant.config, seed=seed)
            if is_settled(path, config, failures):
                settled.append((path, row_count(config)))
            else:
                missing.append(seed)
        steps, seconds = 0, 0.0
        if missing:
            config = replace(variant.config, seed=missing[0])
            ((setup,),) = prepare(config, plan.path(root, variant, missing[0]), stream=notices, fetch=fetch)
            notices = io.StringIO()  # All variants train on the same images, so the other notices would be the same.

            from sharingan_jax.devices.estimate import estimate_cost  # After `prepare`, which pins the environment.

            cost = estimate_cost(setup.trainer, batch_size=setup.plan.batch_size, image_shape=setup.dataset.image_shape)
            steps = steps_left([plan.path(root, variant, seed) for seed in missing], last=setup.schedule.total_steps)
            seconds = steps * cost.step_seconds
            sets += [row_count(config)] * len(missing)
        variants.append(VariantForecast(variant, len(missing), steps, seconds))
    left = set(without_evaluation([path for path, _ in settled], features=features, samples=samples))
    sets += [count for path, count in settled if path in left]
    evaluation = 0.0
    if sets:
        from sharingan_jax.evaluation.estimate import estimate_evaluation

        split, _ = load_reference(plan.variants[0].config.data, fetch=fetch)
        evaluation = estimate_evaluation(split, features, samples=samples, sets=sum(sets))
    return Forecast(tuple(variants), len(sets), evaluation)


def steps_left(paths: Sequence[Path], *, last: int) -> int:
    """Return how many steps up to step `last` the runs in these folders still have to make, from their last checkpoints on."""
    done = [RunFolder(path).checkpoint_steps()[-1:] for path in paths]
    return sum(last - min(sum(steps), last) for steps in done)
