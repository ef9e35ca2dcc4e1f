"""The sentences of a dev.tsv in SST-2's format, classified by one model in several ways.

    sentences.py FOLDER MODEL_DIR DATA_DIR EXPORT

writes all answers of this Paddle to FOLDER, including those of EXPORT, a program exported by
another Paddle. chain.py starts it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from alignment import dumps
from alignment.dumps import Arrays
from convbert.command.start import start_paddle
from paddlenlp.utils.logits import softmax

BATCH = 32
Batch = tuple[list[int], np.ndarray, np.ndarray]  # sentence numbers, input_ids, token_type_ids


def read_dev(data_dir: Path) -> tuple[list[str], np.ndarray]:
    """Return the dev sentences and their labels."""
    from paddlenlp.datasets import load_dataset

    examples = load_dataset("glue", "sst-2", "dev", data_dir=str(data_dir))
    labels = np.array([example["labels"] for example in examples])
    return [example["sentence"] for example in examples], labels


def sorted_batches(processor, texts: list[str]) -> list[Batch]:
    """Return padded batches of sentences of similar length."""
    from convbert.text.processing import length_sorted_batches

    features = processor.encode(texts)
    lengths = [len(feature.input_ids) for feature in features]
    return [
        (numbers, *processor.collate([features[i] for i in numbers]))
        for numbers in length_sorted_batches(lengths, BATCH)
    ]


def probabilities(run: Callable, batches: list[Batch]) -> np.ndarray:
    """Return the probabilities [sentences, C] by ``run(input_ids, token_type_ids)`` -> logits."""
    rows = {
        number: row
        for numbers, ids, types in batches
        for number, row in zip(numbers, softmax(run(ids, types)))
    }
    return np.stack([rows[number] for number in range(len(rows))])


def answers(model_dir: str, data_dir: Path, export: Path, other: Path | None) -> Arrays:
    """Return the probabilities by Paddle version and way; write the exported model.

    Args:
        model_dir: checkpoint.
        data_dir: folder with dev.tsv.
        export: directory for the exported model.
        other: a model exported by another Paddle, which is run too.
    """
    import paddle

    from convbert.inference.dygraph import dygraph_runner, load_classifier
    from convbert.inference.export import export_checkpoint

    paddle.set_device("cpu")
    model, processor = load_classifier(model_dir)
    batches = sorted_batches(processor, read_dev(data_dir)[0])
    export_checkpoint(model_dir, str(export))
    spec = [paddle.static.InputSpec([None, None], "int64")] * 2
    static = paddle.jit.to_static(model, input_spec=spec, full_graph=True)
    runners = {"dygraph": dygraph_runner(model), "to_static": dygraph_runner(static)}
    runners.update(engines(export, "exported program"))
    if other:
        runners.update(engines(other, "program exported by the first"))
    version = f"Paddle {paddle.__version__}"
    return {f"{version}, {way}": probabilities(run, batches) for way, run in runners.items()}


def engines(export: Path, what: str) -> Iterator[tuple[str, Callable]]:
    """Yield Paddle Inference on an exported model, plain and with oneDNN."""
    from convbert.inference.engines import EngineOptions, open_engine

    for name, use_mkldnn in (("plain", False), ("oneDNN", True)):
        engine = open_engine(str(export), EngineOptions(use_mkldnn=use_mkldnn))
        if use_mkldnn and not engine.use_mkldnn:
            name = "plain (this Paddle cannot use oneDNN)"
        yield f"{what}, {name}", engine.run


def main(folder: str, model_dir: str, data_dir: str, other: str) -> None:
    """Write all answers of this Paddle."""
    start_paddle()
    found = answers(model_dir, Path(data_dir), Path(folder) / "export", Path(other))
    dumps.dump(Path(folder) / "answers.npz", found)


if __name__ == "__main__":
    main(*sys.argv[1:])
