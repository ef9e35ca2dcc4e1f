"""The exception for mistakes that a user can correct, and its codes."""

# Tests and scripts compare the codes, while the wording of messages may change. docs/errors.md has
# their meanings; a test compares the two.
_NAMES = """
    accuracy busy calibration checkpoint column command-line configuration data-set device
    download empty-input encoding engine environment export file-damaged file-missing
    file-unreadable label memory model-name not-finite not-writable occupied outputs-differ
    package-missing port precision resume row sequence-length served-model service settings
    step-failed text tipc tipc-config token-id tokenizer vocabulary weights
"""
CODES = frozenset(_NAMES.split())
LONGEST_MESSAGE = 1000  # characters


class UserError(ValueError):
    """A mistake that the user can correct: in flags, files, data or a checkpoint.

    Entry scripts print the message and the code without a traceback and exit with status 2 (see
    ``convbert.command.start``); users of the library can catch it as a ``ValueError``.

    Args:
        code: one of `CODES`.
        message: one line that says what is wrong, where, and how to correct it; a very long one is
            shortened in the middle.
    """

    def __init__(self, code: str, message: str):
        assert code in CODES, code
        line = " ".join(message.splitlines())
        if len(line) > LONGEST_MESSAGE:
            line = f"{line[: LONGEST_MESSAGE - 300]} ... {line[-290:]}"
        super().__init__(line)
        self.code = code
