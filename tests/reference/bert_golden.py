"""Write tests/fixtures/bert_golden/: a tiny BERT and the hidden states transformers gives for it.

Run it in the environment of the teacher: python tests/reference/bert_golden.py
"""

from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel

TARGET = Path(__file__).resolve().parents[1] / "fixtures" / "bert_golden"
IDS = [[2, 13, 14, 15, 24, 7, 3, 0], [2, 30, 3, 0, 0, 0, 0, 0], [2, 16, 13, 28, 19, 14, 5, 3]]


def main() -> None:
    """Make the model from a seed, save it, and save its states [3, 8, 16]."""
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=53,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    ids = torch.tensor(IDS)
    with torch.no_grad():
        output = model(ids, attention_mask=(ids != 0).long(), output_hidden_states=True)
    model.save_pretrained(TARGET)
    states = {f"state_{n}": state.numpy() for n, state in enumerate(output.hidden_states)}
    np.savez_compressed(TARGET / "states.npz", ids=ids.numpy(), **states)


if __name__ == "__main__":
    main()
