"""Shared by the HTTP and the gRPC client: flags, texts, and checking of answers."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext

from convbert.command.flags import DEFAULT_SENTENCE, float_in, make_parser
from convbert.inference.inference_flags import check_text_flags, read_texts
from convbert.text.reading import Row
from paddlenlp.utils.files import atomic_write

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
    parser.add_argument("--input_file", help="send each line of this file; '-' is standard input")
    parser.add_argument(
        "--output_file", help="also write the answers as JSON lines: text, label_id, prob, label"
    )
    parser.add_argument(
        "--timeout",
        type=float_in(0.01, 3600),
        default=30.0,
        help="seconds to wait for an answer",
    )
    parser.add_argument(
        address_flag, dest="address", default=default, help="address of the service"
    )
    # The other flags of the inference commands, which the clients do not have.
    parser.set_defaults(text_pair=None, input_column=None, label_column=None)
    args = parser.parse_args(argv)
    send = connect(args.address, args.timeout)
    check_text_flags(args)
    return _send_all(read_texts(args), send, args.output_file)


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
