"""Classify a sentence with the bundled model, then run the whole chain once and print a table.

Example:
    python tools/quickstart.py --data_dir data/SST-2 --model_name_or_path convbert-base

The chain: fine-tune, evaluate, export, predict, infer, compare. It starts from the bundled model
and uses the small review data set of this repository. --full downloads SST-2 and convbert-base
instead.
"""

import argparse
import json
import logging
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from convbert.command.flags import DEFAULT_SENTENCE, add_bool_flag, add_device_flag, make_parser
from convbert.command.start import run_main, run_step
from convbert.inference.engines import installed
from convbert.inference.engines.onnx_runtime import convert
from paddlenlp.datasets import load_dataset
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.hub import DEFAULT_MODEL, pretrained_file

PREDICT, INFER = "tools/predict.py", "deploy/inference_python/infer.py"
PRETRAINED = "convbert-base"
# On a CPU a training step of convbert-base takes several seconds; this is enough to test every
# part.
CPU_STEPS = ["--max_steps", "20"]
# The bundled model already knows such sentences; one epoch shows how fine-tuning works.
FROM_BUNDLED = shlex.split(
    f"--model_name_or_path {DEFAULT_MODEL} --group_by_length --batch_size 16 --learning_rate 5e-5 "
    "--num_train_epochs 1 --save_steps 10 --logging_steps 10"
)


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_bool_flag(parser, "--full", False, f"download SST-2 and {PRETRAINED}")
    add("--data_dir", help="folder with the official SST-2 files (default: data/reviews)")
    add("--model_name_or_path", help="checkpoint directory (default: the bundled model)")
    add("--output_dir", default="./quickstart_outputs", help="folder for all output")
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

    python(PREDICT, "--output_npy", output / "bundled.npy", *device)
    print(f"answered by the bundled model after {time.perf_counter() - started:.0f} s")
    python("train.py", *training_flags(args), *device, "--output_dir", checkpoint)
    python("tools/export_model.py", "--model_path", best, "--save_inference_dir", exported)
    predicted = output / "predict"
    answers = {"dygraph": classify(PREDICT, predicted, "--model_path", best, *device)}
    for name, (kind, flags) in engines(output, exported).items():
        inferred = output / f"infer_{kind}"
        answers[name] = classify(INFER, inferred, "--model_dir", exported, *flags)
        python("tools/compare_outputs.py", f"{predicted}.npy", f"{inferred}.npy")

    summary = json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))
    accuracy = summary["best"]["dev"]["dev"][summary["selection"]]
    print(f"\n{'dev accuracy':<26} {accuracy:.4f} (step {summary['best']['step']})")
    print(f"sentence: {DEFAULT_SENTENCE}")
    for name, answer in answers.items():
        print("{:<26} label_id {label_id}, prob {prob:.7f}, {label}".format(name, **answer))
    seconds = time.perf_counter() - started
    print(f"everything ran and agrees; {seconds:.0f} s; products in {output}")


def python(script: str, *flags) -> None:
    """Run a script of this repository and show the command.

    Raises:
        UserError: the command failed.
    """
    print(f"\n$ python {shlex.join([script, *map(str, flags)])}", flush=True)
    run_step([sys.executable, ROOT / script, *flags])


def classify(script: str, stem: Path, *flags) -> dict:
    """Classify the default sentence with a script; return its answer."""
    python(script, *flags, "--output_file", f"{stem}.jsonl", "--output_npy", f"{stem}.npy")
    return json.loads(Path(f"{stem}.jsonl").read_text(encoding="utf-8"))


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
    if all(map(installed, ("onnx", "onnxruntime", "paddle2onnx"))):
        onnx_file = output / "model.onnx"
        convert(str(exported), str(onnx_file))
        flags = ["--engine", "onnxruntime", "--onnx_file", onnx_file]
        found["ONNX Runtime"] = "onnxruntime", flags
    return found


def training_flags(args: argparse.Namespace) -> list[str]:
    """Choose data and model: given by flags, downloaded (--full), or from this repository."""
    model, data = args.model_name_or_path, ["--data_dir", args.data_dir or str(REVIEWS)]
    if args.full and not model:
        files = ("vocab.txt", "model_state.pdparams")
        fetches = [partial(pretrained_file, PRETRAINED, name) for name in files]
        model = PRETRAINED if reachable("weights", PRETRAINED, fetches) else None
    if args.full and not args.data_dir:
        fetch = partial(load_dataset, "glue", "sst-2", splits=["train", "dev"])
        data = [] if reachable("data", "SST-2", [fetch]) else data
    if model:
        import paddle

        on_gpu = args.device != "cpu" and paddle.is_compiled_with_cuda()
        limit = [] if on_gpu else [*CPU_STEPS, "--save_steps", CPU_STEPS[1]]
        return [*data, "--model_name_or_path", model, "--logging_steps", "5", *limit]
    limit = [] if str(REVIEWS) in data else CPU_STEPS
    return [*data, *FROM_BUNDLED, *limit]


def reachable(kind: str, name: str, fetches: list[Callable]) -> bool:
    """Whether all downloads succeed; if not, print one line."""
    print(f"looking for the {kind} of {name} ...", flush=True)
    logging.disable(logging.WARNING)  # print only the result, not the retries
    try:
        for fetch in fetches:
            fetch()
    except UserError as error:
        print(f"not available: {error}")
        return False
    finally:
        logging.disable(logging.NOTSET)
    return True


if __name__ == "__main__":
    run_main(main)
