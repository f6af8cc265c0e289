"""`sharingan-jax data`: look at images before training."""

from typing import TYPE_CHECKING

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.errors import UserError, counted, listed

if TYPE_CHECKING:
    from sharingan_jax.data.inspect import DataReport

DESCRIPTION = """\
Look at images before training: how many, their sizes and formats, files that
are skipped or cannot be read, copies and near duplicates, colours, classes,
whether they may be turned and mirrored, the digest, and what to set for them.

  {prog} data my_images
  {prog} data photos.zip --out look
  {prog} data --config crisp --config.data.path=my_images

A path alone is read with the settings of default. --out writes the whole
report, inspection.json, and contact_sheet.png: what the network will see.
Without it nothing is written.
"""
FEW = 3


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("data", description=DESCRIPTION)
    parser.add_path("path", nargs="?", metavar="PATH", help="the images: a folder, an archive, an array or a table")
    parser.add_argument("--config", metavar="NAME", help="a configuration; default: default")
    parser.add_path("--out", metavar="DIR", help="folder of the report and the contact sheet")
    parser.add_argument("--config.KEY", dest="unused", metavar="VALUE", help="change a setting, as in train")
    return parser


def run(arguments: list[str]) -> int:
    """Look at the images and print a summary; return the exit code."""
    flags, overrides = make_parser().parse(arguments)
    if flags.path is not None:
        if any(key == "data.path" for key, _ in overrides):
            raise UserError(f"{flags.path}: expected one path, got --config.data.path too. Remove one of them.")
        overrides.append(("data.path", str(flags.path)))

    from sharingan_jax.config.load import load_config

    config = load_config(flags.config or "default", overrides)

    from sharingan_jax.training.inspection import REPORT, SHEET, inspect_images

    print(describe(inspect_images(config, out=flags.out, say=print)))
    if flags.out is not None:
        print(f"look at      {flags.out / SHEET}; {flags.out / REPORT} has everything")
    return 0


def describe(report: "DataReport") -> str:
    """Return the report as lines for a terminal: the first few files of each kind."""
    height, width, channels = report.image_shape
    place = f"{report.place} ({report.kind})" if report.place else report.kind
    mean, std = (" ".join(f"{value:.0f}" for value in values) for values in (report.colours.mean, report.colours.std))
    ground = report.colours.ground
    colour = "#" + "".join(f"{level:02x}" for level in (ground.colour * 3)[:3])
    lines = [
        f"images       {report.count:,} from {place}, trained on as {height}×{width}×{channels}; digest {report.digest[:12]}",
        *_on_sizes(report),
        *(f"remark       {remark}" for remark in report.remarks),
        *_on_files(report),
        *_on_duplicates(report),
        f"colours      mean {mean}, standard deviation {std}, saturation {report.colours.saturation:.2f};"
        f" border {colour} ({ground.share:.0%}), white {ground.white_share:.0%}",
        *(f"time         {line}" for line in report.costs),
        *(f"advice       {line}" for line in report.advice),
    ]
    return "\n".join(lines)


def _on_sizes(report: "DataReport") -> list[str]:
    if report.sizes is None:
        return []
    sides = ", ".join(
        f"{name} {each.least:.0f} to {each.most:.0f} (median {each.median:.0f})"
        for name, each in (("widths", report.sizes.width), ("heights", report.sizes.height))
    )
    formats = ", ".join(f"{name} {count:,}" for name, count in report.sizes.formats.items())
    aspect = f"longer side / shorter side up to {report.sizes.aspect.most:.2f}"
    return [f"sizes        {sides}; {aspect}{f'; {formats}' if formats else ''}"]


def _on_files(report: "DataReport") -> list[str]:
    from sharingan_jax.data.sources.files import with_reasons

    kinds = (("bad files", report.bad), ("skipped", report.skipped))
    return [f"{name:<13}{len(files):,}: {with_reasons(files, most=FEW)}" for name, files in kinds if files]


def _on_duplicates(report: "DataReport") -> list[str]:
    from sharingan_jax.data.sources.files import shown

    lines = []
    if report.copies:
        pairs = [f"{shown(copy)} of {shown(first)}" for copy, first in report.copies.items()]
        lines.append(f"copies       {len(pairs):,}: {listed(pairs, most=FEW)}")
    if report.near_duplicates:
        found = [f"{shown(each.first)} and {shown(each.second)} ({each.distance:.2f})" for each in report.near_duplicates]
        of = f" among {report.measured:,} images" if report.measured < report.count else ""
        lines.append(f"near         {counted(len(found), 'pair')}{of}: {listed(found, most=FEW)}")
    return lines
