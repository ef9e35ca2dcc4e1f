"""Compare the probabilities of one model along the chain and over two Paddle versions.

    python alignment/chain.py                              convbert-base, random weights
    python alignment/chain.py --model_dir best.pdparams    a trained checkpoint

Dygraph, to_static, and the exported program under Paddle Inference, plain and with oneDNN, on the
Paddle of this environment and of --other_env; there also with the program that this one exported.
All against dygraph here, on the dev sentences of SST-2. Exits 1 if a probability differs by more
than 1e-5.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.machine import set_cpu_environment
from convbert.command.start import run_main
from paddlenlp.transformers.convbert.configuration import PRESETS
from paddlenlp.utils.errors import UserError

BOUND = 1e-5
BATCH = 32
MAX_SEQ_LEN = 128
SAMPLE = 7  # every 7th batch, from the longest sentences to the shortest
SPREAD = 1.0  # deviation of the difference of the logits over sentences


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("Compare one model's probabilities along the chain.")
    parser.add_argument("--model_dir", help="checkpoint (default: random weights)")
    parser.add_argument("--size", choices=list(PRESETS), default="convbert-base", help="of those")
    parser.add_argument(
        "--data_dir", type=Path, default=ROOT.parent / "shared" / "data" / "SST-2", metavar="DIR"
    )
    parser.add_argument(
        "--vocab_file", type=Path, default=ROOT.parent / "shared" / "data" / "vocab" / "vocab.txt"
    )
    parser.add_argument("--limit", type=int_at_least(1), help="only the first sentences")
    parser.add_argument(
        "--other_env", type=Path, default=ROOT / ".venv-paddle3", help="environment, second Paddle"
    )
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--program", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Run every environment in a process of its own and print the table."""
    args = parse_args(argv)
    if args.worker:
        work_here(args)
        return 0
    from alignment import dumps

    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        if args.model_dir is None:
            args.model_dir = save_random(args, work / "model")
        answers = run_worker(sys.executable, args, work / "here", None)
        other = args.other_env / "bin" / "python"
        if other.exists():
            answers.update(run_worker(str(other), args, work / "there", work / "here"))
        else:
            print(f"not run: a second Paddle, there is no {other}")
    (first, expected), *rest = answers.items()
    rows = [
        dumps.Row("chain", name, dumps.differences({"p": expected}, {"p": probs})["p"], BOUND)
        for name, probs in rest
    ]
    spread = f"{expected.min():.3f} to {expected.max():.3f}"
    print(f"{len(expected)} sentences; probabilities from {spread}; against: {first}\n")
    print(dumps.table(rows))
    return 0 if all(row.passed for row in rows) else 1


def save_random(args: argparse.Namespace, target: Path) -> str:
    """Write a checkpoint with the random weights of the alignment, its answers spread."""
    set_cpu_environment()
    from alignment.ours import random_model
    from convbert.text.processing import TextProcessor
    from paddlenlp.transformers import ConvBertConfig, ConvBertTokenizer

    config = ConvBertConfig.preset(args.size)
    model = random_model(config, "ConvBertForSequenceClassification")
    tokenizer = ConvBertTokenizer(args.vocab_file)
    spread_answers(model, encode(args, TextProcessor(tokenizer, MAX_SEQ_LEN))[::SAMPLE])
    model.save_pretrained(str(target))
    tokenizer.save_pretrained(target)
    return str(target)


def spread_answers(model, batches: list) -> None:
    """Make the answers as different as those of a trained model.

    A random model answers every sentence nearly alike: its probabilities would hide a difference.
    Here its last layer reads the direction in which the sentences differ most, so that the
    difference of the two logits has the mean 0 and the deviation ``SPREAD`` over them.
    """
    import numpy as np
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


def run_worker(
    python: str, args: argparse.Namespace, out: Path, program: Path | None
) -> dict[str, object]:
    """Run this file as a worker; returns the probabilities by Paddle version and way.

    Raises:
        UserError: it failed.
    """
    from alignment import dumps

    command = [python, __file__, "--worker", str(out), "--model_dir", str(args.model_dir)]
    command += ["--data_dir", str(args.data_dir)]
    command += ["--limit", str(args.limit)] if args.limit else []
    command += ["--program", str(program / "export")] if program else []
    if subprocess.run(command, check=False).returncode:
        raise UserError("step-failed", f"{' '.join(command)} failed, see above")
    answers = dumps.load(out / "probabilities.npy")
    version = answers.pop("version").item()
    return {f"{version}, {name}": probabilities for name, probabilities in answers.items()}


def work_here(args: argparse.Namespace) -> None:
    """Answer all sentences in every way and dump the probabilities."""
    set_cpu_environment()
    import numpy as np
    import paddle

    from alignment import dumps
    from convbert.inference.dygraph import dygraph_runner, load_classifier
    from convbert.inference.export import export_checkpoint

    paddle.set_device("cpu")
    model, processor = load_classifier(args.model_dir)
    batches = encode(args, processor)
    export = args.worker / "export"
    export_checkpoint(args.model_dir, str(export))
    answers = {"version": np.array(f"Paddle {paddle.__version__}")}
    answers["dygraph"] = answer(batches, dygraph_runner(model))
    spec = [paddle.static.InputSpec([None, None], "int64")] * 2
    static = paddle.jit.to_static(model, input_spec=spec, full_graph=True)
    answers["to_static"] = answer(batches, dygraph_runner(static))
    answers.update(engines(batches, export, "exported program"))
    if args.program:
        answers.update(engines(batches, args.program, "program exported by the first"))
    dumps.dump(args.worker / "probabilities.npy", answers)


def engines(batches: list, export: Path, what: str) -> dict[str, object]:
    """Answer with Paddle Inference, plain and with oneDNN."""
    from convbert.inference.engines.paddle_inference import EngineOptions, Predictor

    answers = {}
    for name, use_mkldnn in (("plain", False), ("oneDNN", True)):
        engine = Predictor(str(export), EngineOptions(use_mkldnn=use_mkldnn))
        if use_mkldnn and not engine.use_mkldnn:
            name = "oneDNN refused by this Paddle, plain"
        answers[f"{what}, {name}"] = answer(batches, engine.run)
    return answers


def encode(args: argparse.Namespace, processor) -> list:
    """Encode the dev sentences; batches of (indices, input_ids, token_type_ids)."""
    from convbert.text.processing import length_sorted_batches
    from paddlenlp.datasets import load_dataset

    examples = load_dataset("glue", "sst-2", "dev", data_dir=str(args.data_dir))
    texts = [example["sentence"] for example in examples][: args.limit]
    features = processor.encode(texts)
    lengths = [len(feature.input_ids) for feature in features]
    return [
        (indices, *processor.collate([features[i] for i in indices]))
        for indices in length_sorted_batches(lengths, BATCH)
    ]


def answer(batches: list, run) -> object:
    """Return the probabilities [sentences, C] of a runner ``(ids, types) -> logits``."""
    import numpy as np

    from convbert.text.processing import softmax

    rows = {
        index: row
        for indices, ids, types in batches
        for index, row in zip(indices, softmax(run(ids, types)))
    }
    return np.stack([rows[index] for index in range(len(rows))])


if __name__ == "__main__":
    run_main(main)
