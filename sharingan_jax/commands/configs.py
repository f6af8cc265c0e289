"""`sharingan-jax configs`: list the configurations that come with the package."""

import textwrap

from sharingan_jax.commands.arguments import WIDTH, Parser
from sharingan_jax.config.load import configs_folder
from sharingan_jax.config.reference import list_configurations

DESCRIPTION = """\
List the configurations: what each is for, how many steps it takes, how long.

  {prog} configs
  {prog} train --config NAME
"""


def make_parser() -> Parser:
    """Return the parser."""
    return Parser("configs", description=DESCRIPTION)


def run(arguments: list[str]) -> int:
    """Print the list; return the exit code."""
    make_parser().parse(arguments, settings_from="the files that it lists")
    configurations = list_configurations()
    indent = max(len(configuration.name) for configuration in configurations) + 2
    for configuration in configurations:
        lines = textwrap.wrap(configuration.purpose, WIDTH - indent)
        lines += textwrap.wrap(configuration.time, WIDTH - indent)
        for name, line in zip([configuration.name, *[""] * len(lines)], lines, strict=False):
            print(f"{name:<{indent}}{line}")
    print(f"\nThe files are in {configs_folder()}; copy one to change it.")
    return 0
