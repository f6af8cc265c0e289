"""`sharingan-jax diff`: show what differs between two runs, and from which step on."""

from typing import TYPE_CHECKING, Any

from sharingan_jax.commands.arguments import Parser

if TYPE_CHECKING:
    from sharingan_jax.run.folder import RunDir

DESCRIPTION = """\
Show what differs between two runs, from what they recorded: settings, images,
versions and devices, and the first step whose metrics are not the same floats.

  {prog} diff RUN OTHER

exit codes: 0 bitwise identical at all steps that both have; 1 they differ; 2
one of them cannot be read
"""


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("diff", description=DESCRIPTION)
    parser.add_path("runs", nargs=2, metavar="DIR", help="a run's folder")
    return parser


def run(arguments: list[str]) -> int:
    """Print the comparison; return the exit code."""
    flags = make_parser().parse_own(arguments, settings="the two runs")

    from sharingan_jax.run.diff import differing_conditions, differing_pictures, differing_settings
    from sharingan_jax.run.folder import RunDir

    manifests, records = zip(*(_read(RunDir(folder)) for folder in flags.runs), strict=True)
    _tell("settings", differing_settings(*manifests))
    _tell("pictures", differing_pictures(*manifests))
    _tell("conditions", differing_conditions(*manifests))
    same_figures = _tell_figures(*records)
    same_end = _tell_end(*manifests)
    return 0 if same_figures and same_end else 1


def _read(run: "RunDir") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from sharingan_jax.config.schema import to_dict
    from sharingan_jax.run.folder import read_config, read_manifest
    from sharingan_jax.run.metrics import read_metrics

    settings = to_dict(read_config(run))
    return {**read_manifest(run.manifest), "config": settings}, read_metrics(run)


def _tell(title: str, found: list[str]) -> None:
    print(f"{title}: {'the same' if not found else ''}".rstrip())
    for line in found:
        print(f"  {line}")


def _tell_figures(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    from sharingan_jax.run.diff import first_difference

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


def _tell_end(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if "digest" not in one or "digest" not in other:
        print("digests: not both runs have come to an end")
        return True
    if one.get("step") != other.get("step"):
        print(f"digests: of other steps, {one.get('step')} and {other.get('step')}")
        return True
    same: bool = one["digest"] == other["digest"]
    words = "the same" if same else f"{one['digest'][:16]} | {other['digest'][:16]}"
    print(f"digests: {words} after step {one['step']}")
    return same
