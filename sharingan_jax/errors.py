"""The exceptions that a user is meant to read."""

import signal


class UserError(Exception):
    """The user asked for something that cannot be done. One line: the setting or file, its value, the rule, what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped the work, after everything was saved. The same call continues it.

    It is a KeyboardInterrupt, so that it also stops the script or the notebook cell that was running.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command continues from here")
        self.exit_code = 128 + number
