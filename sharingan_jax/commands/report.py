"""`sharingan-jax report`: make the report of runs that exist."""

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.commands.compare import add_evaluation_flags, evaluation_options
from sharingan_jax.errors import as_command, command_line

DESCRIPTION = """\
Make report.html from runs that exist: one run, or several configurations and
seeds. Runs with the same settings except the seed are one variant.

  {prog} report RUN
  {prog} report runs/baseline runs/stabilised --out comparison

A run is evaluated if it has not been yet, which takes a minute or two; with
--samples 0 none is evaluated, and the report has curves and images only.
"""


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("report", description=DESCRIPTION)
    parser.add_path("folders", nargs="+", metavar="DIR", help="runs, or folders with runs below them")
    parser.add_path("--out", metavar="DIR", help="folder of the report; default: the run's own, or report/")
    parser.add_argument("--baseline", metavar="NAME", help="what the others are compared with; default: the first")
    add_evaluation_flags(parser)
    return parser


def run(arguments: list[str]) -> int:
    """Make the report; return the exit code."""
    flags, _ = make_parser().parse(arguments, settings_from="the runs")

    from sharingan_jax.comparison.runs import report

    report(
        flags.folders,
        out=flags.out,
        baseline=flags.baseline,
        command=as_command(f"{command_line()} report", arguments),
        **evaluation_options(flags.features, flags.samples),
    )
    return 0
