"""Random models of any size, and the sides of the comparisons that run this repository's code.

ours.py prepare WORK MODEL   write a random classifier, also in transformers' layout
ours.py export WORK          export it, and quantize the export
ours.py SIDE WORK            one of `ENGINES`, train or train_plain: answer requests
"""

import importlib
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.sides import answer_batches, answer_requests, memory_mb
from convbert.command.start import run_main, start_paddle
from convbert.inference.engines import EngineOptions, open_engine
from convbert.text.reading import read_rows, with_label_ids
from paddlenlp.transformers.convbert.configuration import PRESETS, ConvBertConfig
from paddlenlp.utils.checkout import REVIEWS
from paddlenlp.utils.errors import UserError

COLUMNS = (
    "num_hidden_layers",
    "hidden_size",
    "embedding_size",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
)
# name -> the settings that differ from convbert-base
MODELS = PRESETS | {
    name: dict(zip(COLUMNS, sizes))
    for name, sizes in {
        "convbert-mini": (6, 384, 128, 12, 1536),  # the size of models/convbert-mini-sst2
        "two layers, hidden 128": (2, 128, 128, 4, 512),
        "tiny": (2, 32, 32, 4, 64, 2000),  # for trial runs
    }.items()
}
# side -> exported directory, engine, precision
ENGINES = {
    "paddle": ("float", "paddle", "fp32"),
    "openvino": ("float", "openvino", "fp32"),
    "openvino_bf16": ("float", "openvino", "bf16"),
    "openvino_int8": ("int8", "openvino", "int8"),
}
CALIBRATION_TEXTS, DEV_TEXTS = 100, 16


def write_random(name: str, work: Path) -> None:
    """Write a classifier with random weights to WORK/checkpoint, with the words of data/reviews."""
    from alignment.ours import CLASSIFIER, random_model
    from paddlenlp.transformers import ConvBertTokenizer

    model = random_model(ConvBertConfig(**MODELS[name]), CLASSIFIER)
    model.save_pretrained(str(work / "checkpoint"))
    ConvBertTokenizer(REVIEWS / "vocab.txt").save_pretrained(work / "checkpoint")


def export(work: Path) -> None:
    """Export WORK/checkpoint to WORK/float."""
    from convbert.inference.export import export_checkpoint

    export_checkpoint(str(work / "checkpoint"), str(work / "float"))


def quantize(work: Path) -> None:
    """Quantize WORK/float to WORK/int8; any loss of accuracy is accepted, as weights are random."""
    from convbert.inference.quantize import quantize_export

    texts = read_rows(str(REVIEWS / "train.tsv"), ["sentence"])
    dev = with_label_ids(read_rows(str(REVIEWS / "dev.tsv"), ["sentence"], "label"), None, 2)
    rows, judged = list(islice(texts, CALIBRATION_TEXTS)), list(islice(dev, DEV_TEXTS))
    quantize_export(str(work / "float"), str(work / "int8"), rows, judged, max_drop=100)


def prepare(work: Path, name: str) -> None:
    """Write the random classifier to WORK/checkpoint and, for transformers, to WORK/hf."""
    from paddlenlp.transformers.convbert.conversion import convert

    write_random(name, work)
    convert(str(work / "checkpoint"), str(work / "hf"), "hf")


def open_side(side: str, work: Path):
    """Return the engine of a side."""
    directory, engine, precision = ENGINES[side]
    return open_engine(str(work / directory), EngineOptions(engine=engine, precision=precision))


def export_all(work: Path) -> None:
    """Export in float and int8, and fill OpenVINO's cache, from which the sides start."""
    export(work)
    quantize(work)
    for side, (_, engine, _) in ENGINES.items():
        if engine == "openvino":
            with suppress(UserError):  # a precision that this processor lacks
                open_side(side, work)


def infer(side: str, work: Path) -> None:
    """Answer requests with an exported model."""
    engine = ENGINES[side][1]
    importlib.import_module(engine)
    before = memory_mb()["resident_mb"]
    run = open_side(side, work).run
    answer_batches(lambda ids: run(ids, np.zeros_like(ids)), engine, before_mb=before)


def train(work: Path) -> None:
    """Answer requests with training steps, as train.py makes them."""
    import paddle
    import paddle.nn.functional as F

    from convbert.inference.dygraph import load_classifier
    from convbert.training.optimizer import make_optimizer
    from paddlenlp.transformers import LinearDecayWithWarmup

    model, _ = load_classifier(str(work / "checkpoint"))
    schedule = LinearDecayWithWarmup(1e-4, 10**6, 0)
    optimizer = make_optimizer(model, schedule, model.config.num_hidden_layers, 1.0)

    def handle(ids, labels, train):
        ids, labels = paddle.to_tensor(ids), paddle.to_tensor(labels)
        if not train:
            model.eval()
            with paddle.no_grad():
                return {"logits": model(ids).tolist()}
        model.train()
        start = time.perf_counter()
        F.cross_entropy(model(ids), labels).backward()
        optimizer.step()
        schedule.step()
        optimizer.clear_grad()
        return {"ms": (time.perf_counter() - start) * 1000}

    answer_requests(handle, "paddle")


def main(argv: Sequence[str]) -> None:
    """Prepare, or run as a side."""
    if len(argv) < 2 or argv[0] not in ("prepare", "export", *ENGINES, "train", "train_plain"):
        sys.exit(__doc__)
    action, place, *name = argv
    work = Path(place)
    os.environ["XDG_CACHE_HOME"] = str(work / "cache")  # for compiled models
    if action == "train_plain":
        os.environ["PPNLP_CPU_OPS"] = "0"
    if not action.startswith("openvino"):
        start_paddle(training=action.startswith("train"))
    if action == "prepare":
        prepare(work, *name)
    elif action == "export":
        export_all(work)
    elif action in ENGINES:
        infer(action, work)
    else:
        train(work)


if __name__ == "__main__":
    run_main(main)
