"""The peers of bench_training.py: ConvBERT of transformers on PyTorch with torch's fused AdamW.

train_peers.py eager|compiled WORK CONFIG_JSON
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import transformers

from benchmarks.infer_peers import build
from benchmarks.sides import answer_requests


def main(mode: str, work: str, config_json: str) -> None:
    """Load the weights that our side wrote, then answer requests."""
    model = build(Path(work), config_json)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, eps=1e-6, weight_decay=0.01, fused=True
    )
    if mode == "compiled":
        model = torch.compile(model, dynamic=False)

    def handle(ids, labels, train):
        ids, labels = torch.tensor(ids), torch.tensor(labels)
        mask = torch.ones_like(ids)
        if not train:
            model.eval()
            with torch.no_grad():
                return {"logits": model(input_ids=ids, attention_mask=mask).logits.tolist()}
        model.train()
        start = time.perf_counter()
        logits = model(input_ids=ids, attention_mask=mask).logits
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        return {"ms": (time.perf_counter() - start) * 1000}

    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    answer_requests(handle, versions)


if __name__ == "__main__":
    main(*sys.argv[1:])
