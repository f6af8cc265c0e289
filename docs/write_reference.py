"""Write the pages of settings and commands from the code: `python docs/write_reference.py`. A test compares them with it."""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # The checkout: Python puts this file's folder there.

from sharingan_jax.config import schema
from sharingan_jax.config.reference import Setting, list_configurations, setting_reference

GROUPS = {
    "": "The run",
    "data": "Images",
    "model": "Networks",
    "loss": "Loss",
    "augment": "Augmentation",
    "train": "Training",
    "optim": "Optimizers",
    "sample": "Sample grids",
    "checkpoint": "Checkpoints",
    "log": "Logs",
}
SETTINGS_IN_HELP = "\nsettings, with their defaults"


def pages() -> dict[str, str]:
    """Return the contents of the generated pages by their names in docs/reference/."""
    return {"configuration.md": configuration_page(), "commands.md": commands_page()}


def configuration_page() -> str:
    """Return the page of all configurations and settings, from `configs/` and the rules in `config/schema.py`."""
    lines = [
        "# Configuration",
        "",
        "`docs/write_reference.py` writes this page from `configs/` and `sharingan_jax/config/schema.py`.",
        "",
        "## Configurations",
        "",
        "Use one with `sharingan-jax train --config NAME`. Copy its file to make your own.",
        "",
        "| name | purpose | time |",
        "|---|---|---|",
        *(f"| `{entry.name}` | {_cell(entry.purpose)} | {_cell(entry.time)} |" for entry in list_configurations()),
        "",
        "## Settings",
        "",
        "Change one with `--config.KEY=VALUE`, or with `load_config(name, {KEY: VALUE})` from Python. The defaults are those of",
        "the configuration `default`. *post* is the 2020 blog post and its published code.",
        "",
        "Settings marked *free* may change when a run continues. Any other change makes it a different run, and its folder is",
        "refused.",
        "",
    ]
    settings = setting_reference()
    for group, title in GROUPS.items():
        rows = [setting for setting in settings if _group(setting) == group]
        lines += [f"### {title}", "", "| key | default | allowed | meaning |", "|---|---|---|---|"]
        lines += [_row(setting, schema.RULES[setting.key]) for setting in rows]
        lines.append("")
    missing = {_group(setting) for setting in settings} - set(GROUPS)
    if missing:
        raise ValueError(f"docs/write_reference.py: GROUPS has no title for {', '.join(sorted(missing))}")
    return "\n".join(lines)


def _group(setting: Setting) -> str:
    return setting.key.partition(".")[0] if "." in setting.key else ""


def _row(setting: Setting, rule: schema.Rule) -> str:
    default = f"`{setting.default}`" if setting.default != "" else '`""`'
    free = "" if rule.identity else " *free*"
    return f"| `{setting.key}` | {default} | {_cell(_allowed(setting, rule))}{free} | {_cell(setting.comment)} |"


def _allowed(setting: Setting, rule: schema.Rule) -> str:
    if isinstance(setting.default, bool):
        return "True or False"
    return "any text" if isinstance(setting.default, str) and not rule.choices else str(rule)


def commands_page() -> str:
    """Return the page of all commands: the help of each, from its parser."""
    commands = importlib.import_module("sharingan_jax.__main__").COMMANDS
    lines = [
        "# Commands",
        "",
        "`docs/write_reference.py` writes this page from the parsers in `sharingan_jax/commands/`: it is what `--help` prints.",
        "",
        "`sharingan-jax COMMAND`, `python -m sharingan_jax COMMAND` and, in a checkout, `python main.py COMMAND` are the same.",
        "A mistake is one line that names the flag or setting, the value found, and what is allowed; the exit code is then 2.",
        "",
    ]
    for name, (module, purpose) in commands.items():
        text = importlib.import_module(f"sharingan_jax.commands.{module}").make_parser().format_help()
        own, _, settings = text.partition(SETTINGS_IN_HELP)
        epilog = settings[settings.index("\nexit codes:") :] if "\nexit codes:" in settings else ""
        lines += [f"## {name}", "", f"{purpose[0].upper()}{purpose[1:]}.", "", "```text", (own + epilog).strip(), "```", ""]
        if settings:
            lines += ["The help also lists every setting, as [Configuration](configuration.md) does.", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Return text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for name, page in pages().items():
        (Path(__file__).parent / "reference" / name).write_text(f"{page.rstrip()}\n", encoding="utf-8")
