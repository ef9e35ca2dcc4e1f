"""Write SST-2's training rows and the held-out sentences as a folder that train.py can read.

    python distill/split.py --data_dir SST-2 --output_dir runs/sst2-held-out

``train.tsv`` of the new folder has the training rows and ``dev.tsv`` the held-out sentences of
train (see data.py), so that a model can be chosen without the official dev set.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from distill.data import hold_out, read_rows
from paddlenlp.utils.products import product_directory


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", required=True, help="folder with SST-2's train.tsv")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    args = parser.parse_args(argv)
    rows = read_rows(Path(args.data_dir) / "train.tsv")
    held_out, training = hold_out(rows.texts)
    with product_directory(args.output_dir, "SST-2 split", [args.data_dir]) as work:
        for name, chosen in (("train.tsv", training), ("dev.tsv", held_out)):
            lines = [f"{rows.texts[row]}\t{rows.labels[row]}" for row in chosen]
            content = "\n".join(["sentence\tlabel", *lines]) + "\n"
            (work / name).write_text(content, encoding="utf-8")
    left = len(rows) - len(held_out) - len(training)
    print(
        f"{len(training)} training rows, {len(held_out)} held-out sentences, "
        f"{left} rows left out: phrases of held-out sentences only"
    )


if __name__ == "__main__":
    run_main(main)
