"""`sharingan-jax diff`: show what differs between two runs, and from which step on."""

from typing import TYPE_CHECKING

from sharingan_jax.commands.arguments import Parser

if TYPE_CHECKING:
    from sharingan_jax.run.diff import RunDifferences

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
    flags, _ = make_parser().parse(arguments, settings_from="the two runs")

    from sharingan_jax.run.diff import diff

    found = diff(*flags.runs)
    for title, lines in (("settings", found.settings), ("images", found.images), ("environment", found.environment)):
        print("\n  ".join([f"{title}:", *lines]) if lines else f"{title}: the same")
    print(f"metrics: {_describe_metrics(found)}")
    print(f"digests: {_describe_digests(found)}")
    return 0 if found.same else 1


def _describe_metrics(found: "RunDifferences") -> str:
    steps = found.common_steps
    if not steps:
        return "no step in common"
    if found.metrics is None:
        return f"the same floats at all {len(steps)} common steps, {steps[0]} to {steps[-1]}"
    first, lines = found.metrics
    return "\n  ".join([f"the same at {steps.index(first)} steps, different from step {first} on:", *lines])


def _describe_digests(found: "RunDifferences") -> str:
    one, other = found.digests
    if one is None or other is None:
        return "not both runs have ended"
    if not found.digests_comparable:
        return f"of different steps, {found.last_steps[0]} and {found.last_steps[1]}"
    return f"{'the same' if one == other else f'{one[:16]} | {other[:16]}'} after step {found.last_steps[0]}"
