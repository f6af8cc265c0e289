"""`sharingan-jax compare`: train configurations over paired seeds, evaluate each run, and write one report."""

from pathlib import Path
from typing import Any

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.errors import UserError, as_command, command_line, counted

DESCRIPTION = """\
Train several configurations with the same seeds, evaluate every run, and write
a report that shows a difference only if there is one.

  {prog} compare --configs baseline,stabilised \\
      --seeds 0:8 --workdir DIR
  {prog} compare --configs quick --seeds 0:8 \\
      --vary optim.disc.lr=1e-4,2e-4 --workdir DIR
  {prog} compare ... --set train.steps=1200 --dry-run

The first configuration is the baseline. Runs are paired by seed: the same
initial weights, order of images and latents. With one variant against the
baseline 6 seeds are the fewest that can show a difference, with two or three
variants 7, with more 8; 10 are recommended.

Start the same command again to continue after a stop, or to add seeds and
configurations: what is there is kept. A run that fails or collapses is a
result, and is shown. DIR gets report.html, report.json, runs.csv, plots/ (PNG
and PDF) and MODEL_CARD.md; each run is a folder DIR/VARIANT/seed-N like any
other.
"""


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("compare", description=DESCRIPTION)
    parser.add_argument("--configs", required=True, metavar="LIST", help="configurations: names or .py files, with commas")
    parser.add_argument("--seeds", required=True, metavar="SEEDS", help="0:8 (0 to 7) or 0,1,5")
    parser.add_path("--workdir", required=True, metavar="DIR", help="folder of the comparison")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of all configurations")
    parser.add_argument("--vary", action="append", default=[], metavar="KEY=A,B", help="a variant for each value of a setting")
    parser.add_argument("--baseline", metavar="NAME", help="what the others are compared with; default: the first")
    parser.add_whole_number("--stacked", default=1, metavar="N", help="seeds in one program; default: 1")
    add_evaluation_flags(parser)
    parser.add_argument("--dry-run", action="store_true", help="check everything and estimate the time; write nothing")
    return parser


def add_evaluation_flags(parser: Parser) -> None:
    """Add the flags that say how runs are evaluated."""
    parser.add_argument("--features", metavar="LIST", help="feature spaces, as in evaluate")
    parser.add_whole_number("--samples", metavar="N", help="images to draw of each run, as in evaluate")


def run(arguments: list[str]) -> int:
    """Compare; return the exit code."""
    flags, _ = make_parser().parse(arguments, settings_from="--set and --vary")
    settings = [_setting("--set", text) for text in flags.set]
    vary: dict[str, list[str]] = {}
    for key, values in (_setting("--vary", text) for text in flags.vary):
        if key in vary:
            raise UserError(f"--vary {key}: given twice. Write all its values after one --vary, with commas.")
        vary[key] = values.split(",")
    configs = [name.strip() for name in flags.configs.split(",")]
    if not all(configs):
        raise UserError(f"--configs={flags.configs}: expected names with commas between them, such as baseline,stabilised.")

    from sharingan_jax.comparison.plan import make_plan, parse_seeds
    from sharingan_jax.training.study import compare, describe_plan

    seeds = parse_seeds(flags.seeds)
    options = {"stacked": flags.stacked, **evaluation_options(flags.features, flags.samples)}
    if flags.dry_run:
        plan = make_plan(configs, seeds, settings=settings, vary=vary, baseline=flags.baseline)
        described = describe_plan(plan, Path(flags.workdir).expanduser(), **options)
        what = f"{counted(len(plan.variants), 'variant')} with {counted(len(seeds), 'seed')}"
        print(f"{what} in {flags.workdir}\n{described}\nnothing was written")
        return 0
    compare(
        configs,
        seeds=seeds,
        workdir=flags.workdir,
        settings=settings,
        vary=vary,
        baseline=flags.baseline,
        command=as_command(f"{command_line()} compare", arguments),
        **options,
    )
    return 0


def evaluation_options(features: str | None, samples: int | None) -> dict[str, Any]:
    """Return the flags of `add_evaluation_flags` as keyword arguments: those that were given."""
    from sharingan_jax.commands.evaluate import split_features

    options: dict[str, Any] = {"features": split_features(features)} if features is not None else {}
    return options | ({"samples": samples} if samples is not None else {})


def _setting(flag: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise UserError(f"{flag} {text}: expected KEY=VALUE, such as {flag} train.steps=400.")
    return key, value
