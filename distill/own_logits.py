r"""Store the logits of a ConvBERT checkpoint, so that a smaller model can learn from them.

    python distill/own_logits.py --model_path runs/large/best.pdparams \
        --input_file SST-2/train.tsv --text_column sentence --output_file runs/logits.npz
    python train.py --data_dir SST-2 --teacher_logits runs/logits.npz ...

Unlike teacher.py it needs no torch. Without --model_path the bundled classifier is the teacher.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main, start_paddle
from convbert.inference.classify import Timings, logits_of
from convbert.inference.default_model import default_checkpoint
from convbert.text.reading import read_table
from convbert.training.teacher import write_teacher_logits
from paddlenlp.transformers.checkpoint import WEIGHTS_FILE
from paddlenlp.utils.products import sha256


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, heading="engine")
    add = parser.add_argument
    add("--model_path", help="the teacher, a checkpoint directory (default: the bundled model)")
    add("--input_file", required=True, help="texts: .csv, .tsv, .jsonl or .parquet")
    add("--text_column", metavar="NAME", help="column of the texts (default: 'text' or 'sentence')")
    add("--text_pair_column", metavar="NAME", help="column of the second texts, for pairs")
    add("--batch_size", type=int_at_least(1), default=32, help="texts run together")
    add("--output_file", required=True, help="the .npz file to write")
    args = parser.parse_args(argv)
    start_paddle()
    from convbert.inference.dygraph import dygraph_runner, load_classifier

    rows = read_table(args.input_file, args.text_column, args.text_pair_column)
    texts = [row.text for row in rows]
    checkpoint = args.model_path or default_checkpoint()
    model, processor = load_classifier(checkpoint)
    logits = logits_of(rows, processor, dygraph_runner(model), args.batch_size, Timings())
    made_from = {
        "input_sha256": sha256(args.input_file),
        "input_rows": len(texts),
        "teacher_sha256": sha256(Path(checkpoint) / WEIGHTS_FILE),
    }
    write_teacher_logits(args.output_file, texts, logits, made_from)
    print(f"wrote the logits of {len(texts)} texts into {args.output_file}")


if __name__ == "__main__":
    run_main(main)
