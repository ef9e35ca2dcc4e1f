"""Classify a sentence with the bundled model, then run the whole chain once and print a table.

Example:
    python tools/quickstart.py --data_dir data/SST-2 --model_name_or_path convbert-base

The chain: fine-tune, evaluate, export, predict, infer, compare. It starts from the bundled model
and uses the small review data set of this repository. --full downloads SST-2 and convbert-base
instead.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from convbert.command.flags import DEFAULT_SENTENCE, add_bool_flag, add_device_flag, make_parser
from convbert.command.start import run_main, run_step
from convbert.inference.engines import installed
from convbert.inference.engines.onnx_runtime import convert
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.hub import DEFAULT_MODEL
from paddlenlp.utils.log import get_logger

PRETRAINED = "convbert-base"
# On a CPU a training step of convbert-base takes several seconds; this is enough to test every
# part.
CPU_STEPS = 20
FROM_SCRATCH = shlex.split(
    "--from_scratch --model_name_or_path convbert-small --layer_lr_decay 1.0 --group_by_length "
    "--num_hidden_layers 2 --hidden_size 64 --num_attention_heads 4 --intermediate_size 128 "
    "--embedding_size 64"
)
# The bundled model already knows such sentences; one epoch shows how fine-tuning works.
FROM_BUNDLED = shlex.split(
    "--group_by_length --batch_size 16 --learning_rate 5e-5 --num_train_epochs 1 --save_steps 10 "
    "--logging_steps 10"
)
FROM_SCRATCH_REAL = shlex.split(
    "--batch_size 64 --learning_rate 1e-3 --num_train_epochs 1 --save_steps 500 --logging_steps 250"
)


def parse_args(argv=None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_bool_flag(parser, "--full", False, f"download SST-2 and {PRETRAINED} (%(default)s)")
    add("--data_dir", help="folder with the official SST-2 files (default: data/reviews)")
    add("--model_name_or_path", help="checkpoint directory (default: the bundled model)")
    add("--vocab_file", help="vocab.txt, to train a tiny model on --data_dir from scratch")
    add("--output_dir", default="./quickstart_outputs", help="folder for all output (%(default)s)")
    add_device_flag(parser)
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Run the chain; stops at the first command that fails."""
    args = parse_args(argv)
    started = time.perf_counter()
    output = Path(args.output_dir)
    checkpoint, exported = output / "checkpoint", output / "convbert_infer"
    best = checkpoint / "best.pdparams"
    device = ["--device", args.device] if args.device else []

    python("tools/predict.py", "--output_npy", output / "bundled.npy", *device)
    print(f"answered by the bundled model after {time.perf_counter() - started:.0f} s")
    python("train.py", *training_flags(args), *device, "--output_dir", str(checkpoint))
    python("tools/export_model.py", "--model_path", best, "--save_inference_dir", exported)
    answers = {"dygraph": predict(output, best, device)}
    for name, (kind, flags) in engines(output, exported).items():
        stem = output / f"infer_{kind}"
        answers[name] = infer(stem, exported, flags)
        python("tools/compare_outputs.py", output / "predict.npy", f"{stem}.npy")
    print_table(checkpoint, answers, time.perf_counter() - started)


def engines(output: Path, exported: Path) -> dict[str, tuple[str, list]]:
    """The installed engines that can read this export, with file name and flags of each."""
    found = {
        "Paddle Inference": ("plain", ["--use_mkldnn", False]),
        "Paddle Inference, oneDNN": ("onednn", ["--use_mkldnn", True]),
    }
    if not (exported / "inference.pdmodel").is_file():
        print("\nOpenVINO and ONNX Runtime are skipped: they read only programs of Paddle 2.6")
        return found
    if installed("openvino"):
        found["OpenVINO"] = "openvino", ["--engine", "openvino"]
    if installed("onnxruntime") and find_spec("paddle2onnx"):
        onnx_file = output / "model.onnx"
        convert(str(exported), str(onnx_file))
        flags = ["--engine", "onnxruntime", "--onnx_file", onnx_file]
        found["ONNX Runtime"] = "onnxruntime", flags
    return found


def python(script: str, *flags) -> None:
    """Run a script of this repository and show the command.

    Raises:
        UserError: the command failed.
    """
    print(f"\n$ python {shlex.join([script, *map(str, flags)])}", flush=True)
    run_step([sys.executable, ROOT / script, *flags])


def training_flags(args: argparse.Namespace) -> list[str]:
    """Choose data and model: given by flags, downloaded (--full), or from this repository."""
    model, data = args.model_name_or_path, ["--data_dir", args.data_dir or str(REVIEWS)]
    if args.full and not model:
        model = reachable("weights", PRETRAINED, _fetch_model)
    if args.full and not args.data_dir and reachable("data", "SST-2", _fetch_data):
        data = []
    if model:
        limit = ["--max_steps", str(CPU_STEPS), "--save_steps", str(CPU_STEPS)]
        limit = [] if _has_gpu(args.device) else limit
        return [*data, "--model_name_or_path", model, "--logging_steps", "5", *limit]
    real = str(REVIEWS) not in data
    if real and args.vocab_file:
        return [*data, "--vocab_file", args.vocab_file, *FROM_SCRATCH, *FROM_SCRATCH_REAL]
    limit = ["--max_steps", str(CPU_STEPS)] if real else []
    return [*data, "--model_name_or_path", DEFAULT_MODEL, *FROM_BUNDLED, *limit]


def reachable(kind: str, name: str, fetch):
    """Return ``name`` after ``fetch()``; if that fails, print one line and return None."""
    print(f"looking for the {kind} of {name} ...", flush=True)
    logger = get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # print only the result, not the retries
    try:
        fetch()
    except UserError as error:
        print(f"not available: {error}")
        return None
    finally:
        logger.setLevel(level)
    return name


def _fetch_model() -> None:
    from paddlenlp.utils.hub import pretrained_file

    pretrained_file(PRETRAINED, "vocab.txt")
    pretrained_file(PRETRAINED, "model_state.pdparams")


def _fetch_data() -> None:
    from paddlenlp.datasets import load_dataset

    load_dataset("glue", "sst-2", splits=["train", "dev"])


def _has_gpu(device) -> bool:
    import paddle

    return device != "cpu" and paddle.is_compiled_with_cuda()


def predict(output: Path, best: Path, device: list[str]) -> dict:
    """Run tools/predict.py on the default sentence; return its answer."""
    answer, npy = output / "predict.jsonl", output / "predict.npy"
    flags = ["--model_path", best, "--output_file", answer, "--output_npy", npy]
    python("tools/predict.py", *flags, *device)
    return json.loads(answer.read_text(encoding="utf-8"))


def infer(stem: Path, exported: Path, flags: list) -> dict:
    """Run infer.py on the default sentence; return its answer."""
    files = ["--output_file", f"{stem}.jsonl", "--output_npy", f"{stem}.npy"]
    python("deploy/inference_python/infer.py", "--model_dir", exported, *flags, *files)
    return json.loads(Path(f"{stem}.jsonl").read_text(encoding="utf-8"))


def print_table(checkpoint: Path, answers: dict, seconds: float) -> None:
    """Print accuracy and the answers side by side."""
    summary = json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))
    best = summary["best"]
    accuracy = best["dev"]["dev"][summary["selection"]]
    print(f"\n{'dev accuracy':<26} {accuracy:.4f} (step {best['step']})")
    print(f"sentence: {DEFAULT_SENTENCE}")
    for engine, answer in answers.items():
        label_id, prob, label = (answer[name] for name in ("label_id", "prob", "label"))
        print(f"{engine:<26} label_id {label_id}, prob {prob:.7f}, {label}")
    print(f"everything ran and agrees; {seconds:.0f} s; products in {checkpoint.parent}")


if __name__ == "__main__":
    run_main(main)
