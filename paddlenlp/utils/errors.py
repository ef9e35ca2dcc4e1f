"""The one exception for mistakes that a user can mend."""


class UserError(ValueError):
    """A mistake in what the user gave: flags, files, data, a checkpoint.

    The message is one line that says what is wrong, where, and how to mend it. Entry scripts print
    it without a traceback and exit with status 2 (see ``convbert.cli.run_main``); library users can
    catch it as a ``ValueError``.
    """
