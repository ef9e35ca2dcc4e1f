"""Our side of bench_training.py: training steps of this repository's model and optimizer.

train_ours.py CONFIG_JSON WEIGHTS   writes random weights for the other sides, then answers requests
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.sides import answer_requests
from convbert.command.start import start_paddle


def main(config_json: str, weights: str) -> None:
    """Write the weights, then answer requests."""
    start_paddle(training=True)
    import paddle
    import paddle.nn.functional as F

    from alignment.ours import CLASSIFIER, random_model
    from convbert.training.optimizer import make_optimizer, make_schedule
    from paddlenlp.transformers import ConvBertConfig
    from paddlenlp.transformers.convbert.weight_names import to_hf

    config = ConvBertConfig(**json.loads(config_json))
    model = random_model(config, CLASSIFIER)
    schedule = make_schedule("linear", 1e-4, 10**6, 0)
    optimizer = make_optimizer(model, schedule, config.num_hidden_layers, 1.0)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    np.savez(weights, **to_hf(arrays, config, CLASSIFIER))

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
