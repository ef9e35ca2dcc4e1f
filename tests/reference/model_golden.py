"""Write tests/fixtures/model_golden.npz: what transformers' ConvBERT computes, in miniature.

    .venv-reference/bin/python tests/reference/model_golden.py

Weights and inputs are not stored: ``alignment/cases.py`` makes them again from names. Keys:
``size/case/quantity``, where quantity is state_0 (embeddings) to state_n, logits, loss, or
``grad/`` and a parameter's name in transformers.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from alignment import cases
from alignment.reference import build, gradients, tensors
from tests.helpers.golden import GRADIENT_CASE, TINY_CASES, TINY_SIZES

TARGET = ROOT / "tests" / "fixtures" / "model_golden.npz"


def main() -> None:
    """Compute everything and write one compressed file."""
    arrays = {}
    for size in TINY_SIZES:
        for name, array in {**body(size), **heads(size)}.items():
            arrays[f"{size}/{name}"] = array
    np.savez_compressed(TARGET, **arrays)
    print(f"{TARGET.name}: {len(arrays)} arrays, {TARGET.stat().st_size} bytes")


def body(size: str):
    """Hidden states, logits, loss of the classifier; gradients of one case."""
    model = build(TINY_SIZES[size], "ConvBertForSequenceClassification")
    found = {}
    for case in TINY_CASES:
        model.zero_grad()
        labels = torch.from_numpy(case.labels(cases.CLASSES))
        inputs = tensors(case.inputs(model.config.vocab_size))
        result = model(**inputs, labels=labels, output_hidden_states=True)
        for number, state in enumerate(result.hidden_states):
            found[f"{case.name}/state_{number}"] = state.detach().numpy()
        found[f"{case.name}/logits"] = result.logits.detach().numpy()
        found[f"{case.name}/loss"] = result.loss.detach().numpy()
        if case == GRADIENT_CASE:
            result.loss.backward()
            for name, gradient in gradients(model).items():
                found[f"{case.name}/grad/{name}"] = gradient
    return found


def heads(size: str):
    """Logits and loss of every head."""
    found = {}
    for head in cases.HEAD_CASES:
        model = build(TINY_SIZES[size], head.architecture, head.classes)
        vocab = model.config.vocab_size
        with torch.no_grad():
            result = model(**tensors(head.inputs(vocab)), **tensors(head.labels(vocab)))
        for name, value in result.items():
            found[f"{head.name}/{name}"] = value.numpy()
    return found


if __name__ == "__main__":
    main()
