"""The table at the end of a run."""

from __future__ import annotations

from pathlib import Path

from convbert.command.flags import make_parser
from paddlenlp.utils.files import atomic_write

NOT_RUN = ("NOT RUN", "-")
COMMAND_WIDTH = 90  # the whole command is in the result file
HEADER = ("step", "name", "status", "seconds", "log", "command")


def main(argv: list[str]) -> int:
    """Print the summary, write it to summary.txt, and return 1 unless every step went well."""
    parser = make_parser(__doc__)
    parser.add_argument("run_dir")
    run_dir = Path(parser.parse_args(argv).run_dir)
    rows = read_rows(run_dir)
    bad = [row for row in rows if row[2] != "OK"]
    text = render(rows)
    if bad:
        number, name, status, *_ = bad[0]
        text += f"\nFAILED at step {number} ({name}): {status}; {len(bad)} of {len(rows)} not OK\n"
    else:
        text += f"\nall {len(rows)} steps OK\n"
    print(text, end="")
    with atomic_write(run_dir / "summary.txt") as file:
        file.write(text)
    return int(bool(bad) or not rows)


def read_rows(run_dir: Path) -> list[tuple[str, ...]]:
    """One row per planned step, with what became of it."""
    done: dict[str, tuple[str, str]] = {}
    for line in (run_dir / "plan" / "done.tsv").read_text().splitlines():
        number, status, seconds = line.split("\t")
        done[number] = (status, seconds)
    rows = []
    for line in (run_dir / "plan" / "steps.tsv").read_text().splitlines():
        number, _, name, _, log = line.split("\t")
        status, seconds = done.get(number, NOT_RUN)
        command = (run_dir / "plan" / f"{number}.shown").read_text().split(" > ")[0]
        command = command.replace(f"{run_dir}/", "")
        if len(command) > COMMAND_WIDTH:
            command = command[: COMMAND_WIDTH - 3] + "..."
        log = log.replace(f"{run_dir}/", "")
        rows.append((number, name, status, seconds, log, command))
    return rows


def render(rows: list[tuple[str, ...]]) -> str:
    """Lay the rows out in columns."""
    table = [HEADER, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADER) - 1)]
    lines = []
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(["", *lines]) + "\n"
