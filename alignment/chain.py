"""Compare the probabilities of one model along the chain and between two versions of Paddle.

    python alignment/chain.py                              convbert-base, random weights
    python alignment/chain.py --model_dir best.pdparams    a trained checkpoint

It runs dygraph, to_static, and the exported program under Paddle Inference, plain and with oneDNN,
with the Paddle of this environment and that of --other_env, which also runs the program exported
here. All are compared with dygraph in this environment, on the dev sentences of --data_dir. The
exit status is 1 if a probability differs by more than 1e-5.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from alignment import results
from alignment.results import Arrays
from convbert.command.flags import make_parser
from convbert.command.start import run_main, run_step, start_paddle
from convbert.inference.classify import run_by_length
from convbert.text.processing import TextProcessor
from convbert.training.tasks import glue_examples
from paddlenlp.transformers.convbert.configuration import PRESETS
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.logits import softmax

BATCH = 32
BOUND = 1e-5


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model_dir", help="checkpoint (default: random weights)")
    add("--size", choices=list(PRESETS), default="convbert-base", help="size of the random model")
    add("--data_dir", type=Path, default=REVIEWS, help="folder of dev.tsv (default: data/reviews)")
    other = ROOT / ".venv-paddle3"
    add("--other_env", type=Path, default=other, help="environment with the second Paddle")
    # Only write the answers of this Paddle to a folder, also those of the export that it contains.
    add("--answers_to", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Answer the sentences under both versions of Paddle and print the table."""
    args = parse_args(argv)
    start_paddle()
    if args.answers_to:
        earlier = args.answers_to / "export"
        found = answers(args, args.answers_to / "second_export", earlier)
        results.dump(args.answers_to / "answers.npz", found)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        args.model_dir = args.model_dir or save_random(args, work / "model")
        found = answers(args, work / "export")
        python = args.other_env / "bin" / "python"
        if python.exists():
            flags = ["--model_dir", args.model_dir, "--data_dir", args.data_dir]
            run_step([python, __file__, *flags, "--answers_to", work])
            found.update(results.load(work / "answers.npz"))
        else:
            print(f"the second Paddle was not run, because {python} does not exist")
    (first, expected), *rest = found.items()
    rows = [
        results.Row("chain", name, results.differences({"p": expected}, {"p": probs})["p"], BOUND)
        for name, probs in rest
    ]
    spread = f"{expected.min():.3f} to {expected.max():.3f}"
    print(f"{len(expected)} sentences; probabilities from {spread}; against: {first}\n")
    print(results.table(rows))
    return 0 if all(row.passed for row in rows) else 1


def answers(args: argparse.Namespace, export: Path, earlier: Path | None = None) -> Arrays:
    """Return the probabilities by Paddle version and way; write the exported model.

    ``earlier`` is a model exported by another Paddle, which is run too.
    """
    import paddle

    from convbert.inference.dygraph import dygraph_runner, load_classifier
    from convbert.inference.export import export_checkpoint

    paddle.set_device("cpu")
    model, processor = load_classifier(args.model_dir)
    features = processor.encode(glue_examples("sst-2", "dev", args.data_dir).texts)
    export_checkpoint(args.model_dir, str(export))
    spec = [paddle.static.InputSpec([None, None], "int64")] * 2
    static = paddle.jit.to_static(model, input_spec=spec, full_graph=True)
    runners = {"dygraph": dygraph_runner(model), "to_static": dygraph_runner(static)}
    runners.update(engines(export, "exported program"))
    if earlier:
        runners.update(engines(earlier, "program exported by the first"))
    version = f"Paddle {paddle.__version__}"
    return {
        f"{version}, {way}": softmax(run_by_length(features, processor, run, BATCH))
        for way, run in runners.items()
    }


def engines(export: Path, what: str) -> Iterator[tuple[str, Callable]]:
    """Yield Paddle Inference on an exported model, plain and with oneDNN."""
    from convbert.inference.engines import EngineOptions, open_engine

    for name, use_mkldnn in (("plain", False), ("oneDNN", True)):
        engine = open_engine(str(export), EngineOptions(use_mkldnn=use_mkldnn))
        if use_mkldnn and not engine.use_mkldnn:
            name = "plain (this Paddle cannot use oneDNN)"
        yield f"{what}, {name}", engine.run


def save_random(args: argparse.Namespace, target: Path) -> str:
    """Write a checkpoint with the random weights of the alignment and different answers."""
    from alignment.ours import CLASSIFIER, random_model
    from paddlenlp.transformers import ConvBertConfig, ConvBertTokenizer

    tokenizer = ConvBertTokenizer(REVIEWS / "vocab.txt")
    config = ConvBertConfig.preset(args.size, vocab_size=tokenizer.vocab_size)
    model = random_model(config, CLASSIFIER)
    texts = glue_examples("sst-2", "dev", args.data_dir).texts
    spread_answers(model, TextProcessor(tokenizer), texts)
    model.save_pretrained(str(target))
    tokenizer.save_pretrained(target)
    return str(target)


def spread_answers(model, processor: TextProcessor, texts: list[str]) -> None:
    """Make the answers differ as much as those of a trained model.

    A random model gives nearly the same answer to every sentence, which would hide a difference.
    Here its last layer reads the direction in which the sentences differ most, so that the
    difference of the two logits has mean 0 and standard deviation 1 over them.
    """
    import paddle

    head = model.classifier

    @paddle.no_grad()
    def run(input_ids, token_type_ids):
        states = model.convbert(paddle.to_tensor(input_ids), paddle.to_tensor(token_type_ids))
        return head.activation(head.dense(states[:, 0])).numpy().astype(np.float64)

    features = run_by_length(processor.encode(texts), processor, run, BATCH)
    mean = features.mean(axis=0)
    _, lengths, directions = np.linalg.svd(features - mean, full_matrices=False)
    half = 0.5 / (lengths[0] / np.sqrt(len(features))) * directions[0]
    head.out_proj.weight.set_value(np.stack([-half, half], axis=1).astype(np.float32))
    head.out_proj.bias.set_value(np.array([mean @ half, -mean @ half], np.float32))
    print(f"random weights; length of the last layer's rows: {np.linalg.norm(half):.1f}")


if __name__ == "__main__":
    run_main(main)
