"""Our side of bench_training.py: training steps of this repository's model and optimizer.

train_ours.py WORK CONFIG_JSON   writes random weights for the other sides, then answers requests
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.models import random_classifier
from benchmarks.sides import answer_requests
from convbert.command.start import start_paddle
from paddlenlp.transformers.convbert.configuration import ConvBertConfig


def main(work: str, config_json: str) -> None:
    """Write the weights, then answer requests."""
    start_paddle(training=True)
    import paddle
    import paddle.nn.functional as F

    from convbert.training.optimizer import make_optimizer
    from paddlenlp.transformers import LinearDecayWithWarmup

    config = ConvBertConfig(**json.loads(config_json))
    model = random_classifier(config, Path(work) / "weights.npz")
    schedule = LinearDecayWithWarmup(1e-4, 10**6, 0)
    optimizer = make_optimizer(model, schedule, config.num_hidden_layers, 1.0)

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

    answer_requests(handle, {"paddle": paddle.__version__})


if __name__ == "__main__":
    main(*sys.argv[1:])
