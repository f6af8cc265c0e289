"""The one exception a user is meant to read."""


class UserError(Exception):
    """What the user asked for cannot be done; the message is one line: the setting or file, its value, the rule, the next move.

    `main.py` prints the message without a traceback and exits with code 2.
    """
