"""Compare the probabilities of one model along the chain and between two versions of Paddle.

    python alignment/chain.py                              convbert-base, random weights
    python alignment/chain.py --model_dir best.pdparams    a trained checkpoint

It runs dygraph, to_static, and the exported program under Paddle Inference, plain and with oneDNN,
with the Paddle of this environment and that of --other_env, which also runs the program exported
here. All are compared with dygraph in this environment, on the dev sentences of --data_dir. The
exit status is 1 if a probability differs by more than 1e-5.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from alignment import dumps, sentences
from alignment.dumps import Arrays
from convbert.command.flags import make_parser
from convbert.command.start import run_main, run_step, start_paddle
from paddlenlp.transformers.convbert.configuration import PRESETS
from paddlenlp.utils.checkout import REVIEWS

BOUND = 1e-5
SAMPLE = 7  # every 7th batch, from the longest sentences to the shortest
SPREAD = 1.0  # standard deviation of the difference of the logits over sentences


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model_dir", help="checkpoint (default: random weights)")
    add("--size", choices=list(PRESETS), default="convbert-base", help="size of the random model")
    add("--data_dir", type=Path, default=REVIEWS, help="dev.tsv in SST-2's format (data/reviews)")
    other = ROOT / ".venv-paddle3"
    add("--other_env", type=Path, default=other, help="environment of the second Paddle")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Answer the sentences under both versions of Paddle and print the table."""
    args = parse_args(argv)
    start_paddle()
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        model_dir = args.model_dir or save_random(args, work / "model")
        answers = sentences.answers(model_dir, args.data_dir, work / "export", None)
        python = args.other_env / "bin" / "python"
        if python.exists():
            answers.update(other_answers(python, work, model_dir, args.data_dir))
        else:
            print(f"the second Paddle was not run, because {python} does not exist")
    (first, expected), *rest = answers.items()
    rows = [
        dumps.Row("chain", name, dumps.differences({"p": expected}, {"p": probs})["p"], BOUND)
        for name, probs in rest
    ]
    spread = f"{expected.min():.3f} to {expected.max():.3f}"
    print(f"{len(expected)} sentences; probabilities from {spread}; against: {first}\n")
    print(dumps.table(rows))
    return 0 if all(row.passed for row in rows) else 1


def other_answers(python: Path, work: Path, model_dir: str, data_dir: Path) -> Arrays:
    """Return the answers under another Paddle, including those of the program exported here.

    Raises:
        UserError: it failed.
    """
    script = Path(__file__).with_name("sentences.py")
    run_step([python, script, work / "other", model_dir, data_dir, work / "export"])
    return dumps.load(work / "other" / "answers.npz")


def save_random(args: argparse.Namespace, target: Path) -> str:
    """Write a checkpoint with the random weights of the alignment and different answers."""
    from alignment.ours import CLASSIFIER, random_model
    from convbert.text.processing import TextProcessor
    from paddlenlp.transformers import ConvBertConfig, ConvBertTokenizer

    tokenizer = ConvBertTokenizer(REVIEWS / "vocab.txt")
    config = ConvBertConfig.preset(args.size, vocab_size=tokenizer.vocab_size)
    model = random_model(config, CLASSIFIER)
    texts, _ = sentences.read_dev(args.data_dir)
    batches = sentences.sorted_batches(TextProcessor(tokenizer), texts)
    spread_answers(model, batches[::SAMPLE])
    model.save_pretrained(str(target))
    tokenizer.save_pretrained(target)
    return str(target)


def spread_answers(model, batches: list[sentences.Batch]) -> None:
    """Make the answers differ as much as those of a trained model.

    A random model gives nearly the same answer to every sentence, which would hide a difference.
    Here its last layer reads the direction in which the sentences differ most, so that the
    difference of the two logits has mean 0 and standard deviation ``SPREAD`` over them.
    """
    import paddle

    head, rows = model.classifier, []
    with paddle.no_grad():
        for _, ids, types in batches:
            first = model.convbert(paddle.to_tensor(ids), paddle.to_tensor(types))[:, 0]
            rows.append(head.activation(head.dense(first)).numpy().astype(np.float64))
    features = np.concatenate(rows)
    mean = features.mean(axis=0)
    _, lengths, directions = np.linalg.svd(features - mean, full_matrices=False)
    half = 0.5 * SPREAD / (lengths[0] / np.sqrt(len(features))) * directions[0]
    head.out_proj.weight.set_value(np.stack([-half, half], axis=1).astype(np.float32))
    head.out_proj.bias.set_value(np.array([mean @ half, -mean @ half], np.float32))
    print(f"random weights; length of the last layer's rows: {np.linalg.norm(half):.1f}")


if __name__ == "__main__":
    run_main(main)
