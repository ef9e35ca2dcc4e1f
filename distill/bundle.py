r"""Put checkpoints into models/ as one, in half precision: the mean of their weights.

    python distill/bundle.py --model_path runs/convbert-mini --output_dir models/convbert-mini
    python distill/bundle.py --output_dir models/convbert-mini-sst2 --dev_file SST-2/dev.tsv \
        --model_path runs/first/best.pdparams runs/second/best.pdparams

Several checkpoints must have been fine-tuned from the same one (arXiv 2203.05482). The tokenizer
and its label names are those of the first.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from convbert.command.flags import make_parser
from convbert.command.start import run_main, start_paddle
from convbert.inference import evaluation
from convbert.text.reading import read_rows, with_label_ids
from paddlenlp.transformers.checkpoint import CONFIG_FILE, WEIGHTS_FILE, read_json, read_weights
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import write_json
from paddlenlp.utils.products import add_to_manifest, product_directory, verify

# Distillation may run without dropout; fine-tuning the bundled model needs the usual one.
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model_path", nargs="+", required=True, help="checkpoint directories")
    add("--output_dir", required=True, help="folder to write, for example models/NAME")
    add("--dev_file", help="labelled texts in SST-2's format, to compare both precisions")
    args = parser.parse_args(argv)
    start_paddle()
    import paddle

    from paddlenlp.transformers import ConvBertTokenizer

    sources = [Path(path) for path in args.model_path]
    with product_directory(args.output_dir, "checkpoint", sources) as work:
        weights = mean_weights(sources)
        halves = {name: half(name, array) for name, array in sorted(weights.items())}
        paddle.save(halves, str(work / WEIGHTS_FILE))
        write_json(work / CONFIG_FILE, {**read_json(str(sources[0] / CONFIG_FILE)), **DROPOUT})
        add_to_manifest(work, "checkpoint", [WEIGHTS_FILE, CONFIG_FILE])
        ConvBertTokenizer.from_pretrained(sources[0]).save_pretrained(work)
        size = (work / WEIGHTS_FILE).stat().st_size
        if args.dev_file:
            print(compare(args.dev_file, work, weights))
    print(f"wrote {args.output_dir}, mean of {len(sources)}, weights {size / 1e6:.1f} MB")


def mean_weights(sources: Sequence[Path]) -> dict[str, np.ndarray]:
    """The mean of equally named weights, float32.

    Raises:
        UserError: a checkpoint is damaged, or names or shapes differ.
    """
    for source in sources:
        verify(source)
    parts = [read_weights(str(source / WEIGHTS_FILE)) for source in sources]
    shapes = [{name: array.shape for name, array in part.items()} for part in parts]
    if any(other != shapes[0] for other in shapes):
        raise UserError("weights", "the checkpoints have different shapes: give runs of one model")
    return {
        name: np.mean([part[name] for part in parts], axis=0, dtype=np.float32) for name in parts[0]
    }


def half(name: str, array: np.ndarray) -> np.ndarray:
    """Weights as float16; raise `UserError` if a value is too large."""
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16)
    if not np.isfinite(rounded).all():
        message = f"{name} has values that are too large for float16: train it again"
        raise UserError("weights", message)
    return rounded


def compare(dev_file: str, bundle: Path, weights: dict[str, np.ndarray]) -> str:
    """Compare the answers of a bundle with those of the weights before rounding; one line."""
    from convbert.inference.dygraph import dygraph_runner, load_classifier

    model, processor = load_classifier(str(bundle))
    rows = read_rows(dev_file, ["sentence"], "label")
    labelled = list(with_label_ids(rows, processor.label_names, processor.num_classes))
    rounded = evaluation.answer(labelled, processor, dygraph_runner(model))
    model.set_state_dict(weights)
    full = evaluation.answer(labelled, processor, dygraph_runner(model))
    found = evaluation.agreement(full, rounded)
    change = found["largest_change_of_a_probability"]
    return (
        f"same label: {round(found['same_label'] * found['texts'])} of {found['texts']}; "
        f"right: {int(full.right.sum())} in float32, {found['right']} in float16; "
        f"largest change of a probability {change:.1e}"
    )


if __name__ == "__main__":
    run_main(main)
