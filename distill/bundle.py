"""Put the best checkpoint of a run into models/, in half precision, with a manifest.

Example:
    python distill/bundle.py --model_path runs/classifier --output_dir models/convbert-mini-sst2 \
        --dev_file SST-2/dev.tsv
    python distill/bundle.py --model_path runs/convbert-mini --output_dir models/convbert-mini

With a file of labelled texts it compares the answers of both precisions. The same checkpoint gives
the same files, and a folder that has them already is left alone.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from convbert.command.flags import make_parser
from convbert.command.start import run_main, start_paddle
from convbert.inference import evaluation
from convbert.text.reading import read_rows, with_label_ids
from convbert.training.run_folder import ARGS_FILE, BEST_DIR, SUMMARY_FILE
from convbert.training.settings import RUN_SETTINGS
from paddlenlp.transformers.checkpoint import CONFIG_FILE, WEIGHTS_FILE, read_json, read_weights
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import write_json
from paddlenlp.utils.products import product_directory, read_manifest, sha256

# Distillation may go without dropout; whoever fine-tunes the bundled model gets the usual one.
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model_path", required=True, help="--output_dir of a run, or a checkpoint directory")
    add("--output_dir", required=True, help="folder to write, for example models/NAME")
    add("--label_names", metavar="NAME,NAME", help="by label id (default: those of the checkpoint)")
    add("--dev_file", help="tab-separated labelled texts, to compare both precisions on")
    add("--input_column", default="sentence", metavar="NAME", help="its text (%(default)s)")
    add("--label_column", default="label", metavar="NAME", help="its true label (%(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Convert, compare, then write."""
    args = parse_args(argv)
    start_paddle()
    run = Path(args.model_path)
    source = run / BEST_DIR if (run / BEST_DIR).is_dir() else run
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_half(source, work, args.label_names.split(",") if args.label_names else None)
        if args.dev_file:
            print(compare(args, source, work))
        files = sorted(path for path in work.iterdir() if path.is_file())
        digests = {file.name: sha256(file) for file in files}
        known = (read_manifest(args.output_dir) or {"files": {}})["files"]
        if {name: file["sha256"] for name, file in known.items()} == digests:
            print(f"{args.output_dir} has these files already")
            return
        inputs, settings = [source], {"training": recipe(run)}
        with product_directory(args.output_dir, "checkpoint", inputs, settings) as target:
            for file in files:
                shutil.copy(file, target / file.name)
    size = (Path(args.output_dir) / WEIGHTS_FILE).stat().st_size
    print(f"wrote {args.output_dir}, weights {size / 1e6:.1f} MB")


def write_half(source: Path, work: Path, label_names: list[str] | None) -> None:
    """Write a checkpoint with float16 weights; the manifest is left to the product's directory.

    Raises:
        UserError: the checkpoint cannot be used, or a weight is too large for float16.
    """
    import paddle

    from paddlenlp.transformers import ConvBertTokenizer
    from paddlenlp.utils.products import MANIFEST_FILE, verify

    verify(source)
    halves = {}
    for name, array in sorted(read_weights(str(source / WEIGHTS_FILE)).items()):
        with np.errstate(over="ignore"):
            halves[name] = array.astype(np.float16)
        if not np.isfinite(halves[name]).all():
            raise UserError("weights", f"{source}: {name} has values that float16 cannot hold")
    paddle.save(halves, str(work / WEIGHTS_FILE))
    write_json(str(work / CONFIG_FILE), {**read_json(str(source / CONFIG_FILE)), **DROPOUT})
    names = {"label_names": label_names} if label_names else {}
    ConvBertTokenizer.from_pretrained(source, **names).save_pretrained(work)
    (work / MANIFEST_FILE).unlink()


def recipe(run: Path) -> dict:
    """The settings and the best result of a run, without its paths; {} for a bare checkpoint."""
    if not (run / ARGS_FILE).is_file():
        return {}
    paths = (*RUN_SETTINGS, "model_name_or_path")
    settings = {k: v for k, v in read_json(str(run / ARGS_FILE)).items() if k not in paths}
    return {"settings": settings, "best": read_json(str(run / SUMMARY_FILE)).get("best")}


def compare(args: argparse.Namespace, source: Path, work: Path) -> str:
    """Compare the answers in float32 and in float16 weights on ``--dev_file``; one line."""
    from convbert.inference.dygraph import dygraph_runner, load_classifier

    answers = []
    for directory in (source, work):
        model, processor = load_classifier(str(directory))
        rows = read_rows(args.dev_file, [args.input_column], args.label_column, "--dev_file")
        labelled = with_label_ids(rows, processor.label_names, processor.num_classes)
        answers.append(evaluation.answer(list(labelled), processor, dygraph_runner(model)))
    found = evaluation.agreement(*answers)
    total, full = found["texts"], int(answers[0].right.sum())
    change = found["largest_change_of_a_probability"]
    return (
        f"same label: {round(found['same_label'] * total)} of {total}; right: {full} in float32, "
        f"{found['right']} in float16; largest change of a probability {change:.1e}"
    )


if __name__ == "__main__":
    run_main(main)
