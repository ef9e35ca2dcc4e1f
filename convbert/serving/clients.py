"""Shared by the HTTP and the gRPC client: flags, texts, and checking of answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext

from convbert.command.flags import DEFAULT_SENTENCE, float_in, make_parser
from convbert.text.reading import Row, read_rows
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write
from paddlenlp.utils.text import argument_text

FIRST_LOG_ID = 10000
EXIT_FAILED = 1


class CallError(Exception):
    """A text got no label; the message says why."""


def run_client(
    description: str,
    argv: Sequence[str] | None,
    address_flag: str,
    default: str,
    connect: Callable[[str, float], Callable[[str, int], object]],
) -> int:
    """Send the texts that the flags name, print the answers, and return the exit status.

    Args:
        description: what the script does, and an example.
        argv: the flags.
        address_flag, default: the flag of the service's address.
        connect: opens an address with a timeout; it returns a function that sends a text and a log
            id, and returns the answer in Paddle Serving's JSON form.
    """
    parser = make_parser(description, heading="service")
    parser.add_argument("--text", help=f"sentence to send (default: {DEFAULT_SENTENCE!r})")
    parser.add_argument("--input_file", help="send each line of this file, '-' for standard input")
    parser.add_argument(
        "--output_file", help="also write the answers as JSON lines: text, label_id, prob, label"
    )
    parser.add_argument(
        "--timeout",
        type=float_in(0.01, 3600),
        default=30.0,
        help="seconds to wait for an answer (%(default)s)",
    )
    parser.add_argument(
        address_flag, dest="address", default=default, help="address of the service (%(default)s)"
    )
    args = parser.parse_args(argv)
    send = connect(args.address, args.timeout)
    if args.input_file and args.text is not None:
        raise UserError("command-line", "give either --input_file or --text, not both")
    if args.input_file:
        rows = read_rows(args.input_file)
    else:
        text = DEFAULT_SENTENCE if args.text is None else args.text
        rows = [Row(argument_text(text), where="--text")]
    return _send_all(rows, send, args.output_file)


def _send_all(rows: Iterable[Row], send: Callable[[str, int], object], output: str | None) -> int:
    """Send texts until one gets no label; ``output`` is written only if all get one."""
    where = ""
    try:
        with atomic_write(output) if output else nullcontext() as file:
            for log_id, row in enumerate(rows, start=FIRST_LOG_ID):
                where = row.where
                answer = send(row.text, log_id)
                line = {"text": row.text, **answer_of(answer)}
                print(answer, flush=True)
                if file:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except CallError as error:
        print(f"error: {where}: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def answer_of(body: object) -> dict[str, object]:
    """Return ``label_id``, ``prob`` and, if the labels have names, ``label`` of an answer.

    Raises:
        CallError: the answer is an error, has no label, or is not in Paddle Serving's format.
    """
    if not isinstance(body, dict) or "err_no" not in body:
        raise CallError("the answer does not come from this service: check the address")
    if body["err_no"] != 0:
        raise CallError(f"err_no {body['err_no']}: {body.get('err_msg', '')}")
    try:
        answered = {}
        for name, value in zip(body["key"], body["value"]):
            (answered[name],) = json.loads(value)
        found = {"label_id": answered["label_id"], "prob": answered["prob"]}
        if "label" in answered:
            found["label"] = answered["label"]
        return found
    except (KeyError, TypeError, ValueError):
        raise CallError(f"the answer contains no label: {body}") from None
