"""Command lines: argparse for a command's own flags, and `--config.any.key=value` beside them."""

import argparse
import difflib
from typing import NoReturn

from sharingan_jax.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse that raises UserError for `main` to print, and never guesses at shortened flags."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")

    def parse(self, arguments: list[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
        """The command's flags, and the overrides `(dotted key, text)` in the order given."""
        flags, rest = self.parse_known_args(arguments)
        if getattr(flags, "unused", None) is not None:  # --help's placeholder, typed as it stands there.
            raise UserError("--config.KEY: put a setting's name for KEY, such as --config.train.steps=400")
        overrides = []
        while rest:
            word = rest.pop(0)
            if not word.startswith("--config."):
                self._refuse(word)
            key, equals, text = word.removeprefix("--config.").partition("=")
            if not equals:
                if not rest or rest[0].startswith("--"):
                    raise UserError(f"{word} needs a value: {word}=VALUE")
                text = rest.pop(0)
            overrides.append((key, text))
        return flags, overrides

    def _refuse(self, word: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        nearest = difflib.get_close_matches(word.partition("=")[0], known, n=1, cutoff=0.7)
        hint = f"did you mean {nearest[0]}?" if nearest else f"see {self.prog} --help"
        raise UserError(f"{word} is not an argument of {self.prog}; {hint}")
