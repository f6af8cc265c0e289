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
    flags = make_parser().parse_own(arguments, settings="the two runs")

    from sharingan_jax.run.diff import diff

    found = diff(*flags.runs)
    _print_list("settings", found.settings)
    _print_list("images", found.images)
    _print_list("environment", found.environment)
    print(_describe_metrics(found))
    print(f"digests: {_describe_digests(found)}")
    return 0 if found.same else 1


def _print_list(title: str, lines: list[str]) -> None:
    print(f"{title}: {'' if lines else 'the same'}".rstrip())
    for line in lines:
        print(f"  {line}")


def _describe_metrics(found: "RunDifferences") -> str:
    steps = found.common_steps
    if not steps:
        return "metrics: no step in common"
    if found.metrics is None:
        return f"metrics: the same floats at all {len(steps)} common steps, {steps[0]} to {steps[-1]}"
    first, lines = found.metrics
    before = len([step for step in steps if step < first])
    return "\n".join([f"metrics: the same at {before} steps, different from step {first} on:", *(f"  {line}" for line in lines)])


def _describe_digests(found: "RunDifferences") -> str:
    if None in found.digests:
        return "not both runs have ended"
    if not found.digests_comparable:
        return f"of different steps, {found.last_steps[0]} and {found.last_steps[1]}"
    one, other = (str(digest) for digest in found.digests)
    words = "the same" if one == other else f"{one[:16]} | {other[:16]}"
    return f"{words} after step {found.last_steps[0]}"
