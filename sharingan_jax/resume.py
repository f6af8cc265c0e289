"""Where a start goes on: the last whole checkpoint of the same run, passing over damaged ones and saying so."""

from collections.abc import Callable, Mapping

from sharingan_jax.checkpoint import Checkpoints, DamagedCheckpointError
from sharingan_jax.errors import UserError
from sharingan_jax.rundir import RunDir
from sharingan_jax.state import TrainState

FACTS = {"config": "settings", "data": "pictures"}


def last_state(
    run: RunDir,
    checkpoints: Checkpoints,
    *,
    like: TrainState,
    facts: Mapping[str, str],
    say: Callable[[str], None],
) -> TrainState | None:
    """The state of the last whole checkpoint, on one device; None where there is no checkpoint at all.

    A damaged one is put aside into `damaged/`, told to `say`, and the one before it is taken: the run makes its steps again.
    Raises UserError, and moves nothing, where a checkpoint is of other `facts` than these, or where all are damaged.
    """
    passed_over: list[tuple[int, DamagedCheckpointError]] = []
    for step in reversed(checkpoints.steps):
        try:
            _check_facts(run, step, checkpoints.facts(step), facts)
            state = checkpoints.restore(step, like=like)
        except DamagedCheckpointError as error:
            passed_over.append((step, error))
            continue
        for later, why in passed_over:
            say(f"{why}; it is now {checkpoints.put_aside(later, run.damaged)}, and the run goes on from step {step}")
        return state
    if passed_over:
        raise UserError(
            f"{passed_over[0][1]}; no whole checkpoint is left to go on from: put one back, or begin in another --workdir"
        ) from passed_over[0][1]
    return None


def _check_facts(run: RunDir, step: int, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    for name, now in expected.items():
        if found.get(name, now) != now:
            raise UserError(
                f"--workdir={run.root}: the checkpoint of step {step} is of other {FACTS[name]}; use those it was"
                " made with, or another --workdir"
            )
