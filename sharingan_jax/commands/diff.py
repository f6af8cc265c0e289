"""`main.py diff`: what two runs have of each other's, and from which step on they part."""

from pathlib import Path
from typing import Any

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.config.schema import to_dict
from sharingan_jax.errors import UserError
from sharingan_jax.run.continuation import read_existing
from sharingan_jax.run.diff import differing_environments, differing_images, differing_settings, first_difference
from sharingan_jax.run.folder import RunFolder, read_config
from sharingan_jax.run.manifest import Manifest
from sharingan_jax.run.metrics import read_metrics

DESCRIPTION = """\
Tells what differs between two runs, from what they wrote of themselves: settings, pictures, versions and devices, and the first
step whose figures are not the same floats.

  python main.py diff runs/default/seed-0 runs/again

exit codes: 0 the same run to the bit, as far as both went; 1 they differ; 2 one of them cannot be read
"""


def run(arguments: list[str]) -> int:
    """Prints the comparison; returns the exit code."""
    parser = Parser(prog="main.py diff", description=DESCRIPTION)
    parser.add_argument("runs", type=Path, nargs=2, metavar="DIR", help="a run's folder")
    flags, overrides = parser.parse(arguments)
    if overrides:
        raise UserError(f"--config.{overrides[0][0]}: diff takes runs as they are")
    runs = [read_existing(RunFolder(folder)) for folder in flags.runs]
    configs = [to_dict(read_config(run.folder)) for run in runs]
    _tell("settings", differing_settings(*configs))
    _tell("images", differing_images(*(run.data for run in runs)))
    environments = [run.manifest.starts[-1].environment for run in runs if run.manifest and run.manifest.starts]
    _tell("environment", differing_environments(*environments) if len(environments) == 2 else ["one run has not started yet"])
    same_figures = _tell_figures(*(read_metrics(run.folder) for run in runs))
    same_end = _tell_end(*(run.manifest for run in runs))
    return 0 if same_figures and same_end else 1


def _tell(title: str, found: list[str]) -> None:
    print(f"{title}: {'the same' if not found else ''}".rstrip())
    for line in found:
        print(f"  {line}")


def _tell_figures(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    common = sorted({record["step"] for record in one} & {record["step"] for record in other})
    if not common:
        print("figures: no step in common")
        return False
    parted = first_difference(one, other)
    if parted is None:
        print(f"figures: the same floats at all {len(common)} steps in common, {common[0]} to {common[-1]}")
        return True
    step, found = parted
    before = len([k for k in common if k < step])
    print(f"figures: the same at {before} steps, and apart from step {step} on:")
    for line in found:
        print(f"  {line}")
    return False


def _tell_end(one: Manifest | None, other: Manifest | None) -> bool:
    if one is None or other is None or one.digest is None or other.digest is None:
        print("digests: not both runs have come to an end")
        return True
    if one.step != other.step:
        print(f"digests: of other steps, {one.step} and {other.step}")
        return True
    same = one.digest == other.digest
    words = "the same" if same else f"{one.digest[:16]} | {other.digest[:16]}"
    print(f"digests: {words} after step {one.step}")
    return same
