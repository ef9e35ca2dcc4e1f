"""The exception for mistakes that a user can correct, and its codes."""

# Every code with its meaning. Codes are stable: tests and scripts compare them, while the wording
# of messages may change. docs/errors.md has the same table; a test compares the two.
CODES = {
    "accuracy": "a quantized model is less accurate than allowed",
    "busy": "another process uses this directory, file or service",
    "calibration": "no sentences to calibrate a quantized model with",
    "checkpoint": "a checkpoint is incomplete, or belongs to another model",
    "column": "a table has no column of that name",
    "command-line": "unknown, missing or conflicting flags",
    "configuration": "a model configuration has an invalid value",
    "data-set": "unknown data set, task or split, or its files are not where they should be",
    "device": "the requested device does not exist on this machine",
    "download": "a download failed or its content is not what was published",
    "empty-input": "a file has no texts or no rows",
    "encoding": "a text file is not UTF-8",
    "engine": "an inference engine cannot open or run this model",
    "environment": "the interpreter or environment cannot run this command",
    "export": "an exported model is incomplete",
    "file-damaged": "a file does not have the expected format",
    "file-missing": "a file or directory does not exist",
    "file-unreadable": "a file cannot be read",
    "label": "a label is not one of the allowed ones",
    "memory": "the machine or the GPU does not have enough memory",
    "model-name": "unknown model or architecture name",
    "not-finite": "a loss, a weight of a model or an answer is not a finite number",
    "not-writable": "an output directory or file cannot be written",
    "occupied": "an output directory contains something that this command did not write",
    "outputs-differ": "two results that should be equal differ",
    "package-missing": "an optional package is not installed",
    "port": "a network port cannot be used",
    "precision": "this engine, model or processor does not support the number format",
    "resume": "a saved state does not fit the run that should continue from it",
    "row": "a row of a table has the wrong number of columns",
    "sequence-length": "sequences would be longer than the model allows",
    "served-model": "a directory is not a model converted for serving, or cannot be served",
    "service": "the service did not start or does not answer",
    "settings": "a configuration file has an invalid value",
    "step-failed": "a command started by this script failed",
    "text": "a text is empty or not a string",
    "tipc": "something that a TIPC run needs is missing",
    "tipc-config": "a line of a TIPC configuration cannot be used",
    "token-id": "a token id lies outside the vocabulary",
    "tokenizer": "a tokenizer setting has the wrong type or value",
    "vocabulary": "a vocabulary is missing, damaged, or belongs to another model",
    "weights": "weights do not fit the model",
}


class UserError(ValueError):
    """A mistake that the user can correct: in flags, files, data or a checkpoint.

    Entry scripts print the message and the code without a traceback and exit with status 2 (see
    ``convbert.command.start``); users of the library can catch it as a ``ValueError``.

    Args:
        code: a key of `CODES`.
        message: one line that says what is wrong, where, and how to correct it.
    """

    def __init__(self, code: str, message: str):
        assert code in CODES, code
        super().__init__(_one_line(message))
        self.code = code


LONGEST_MESSAGE = 1000  # characters


def _one_line(message: str) -> str:
    """Put a message into one line; keep only the start and the end of a very long one."""
    line = " ".join(message.splitlines())
    if len(line) <= LONGEST_MESSAGE:
        return line
    return f"{line[: LONGEST_MESSAGE - 300]} ... {line[-290:]}"
