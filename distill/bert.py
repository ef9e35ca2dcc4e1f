"""The teacher of hidden states: a frozen BERT in Paddle.

A BERT is a ConvBERT whose heads all attend, so its other layers are ConvBERT's.
"""

import dataclasses
import os

import paddle
from paddle import nn

from paddlenlp.transformers import ConvBertConfig, ConvBertModel, checkpoint
from paddlenlp.transformers.convbert.layers import Shared
from paddlenlp.transformers.convbert.weight_names import to_paddle


class BertAttention(nn.MultiHeadAttention):
    """The attention of BERT, called like `MixedAttention`."""

    def forward(self, x, shared: Shared, first_token_only: bool = False) -> paddle.Tensor:
        """Mix x [B, L, H] over positions; returns [B, L, H]."""
        return super().forward(x, attn_mask=shared.bias)


def read_bert(folder: str) -> ConvBertModel:
    """Read the body of a BERT from a folder with transformers' config.json and model.safetensors.

    Raises:
        UserError: a file is missing or damaged, or is of another kind of model.
    """
    checkpoint.require_files(
        folder, [checkpoint.HF_CONFIG_FILE, checkpoint.HF_WEIGHTS_FILE], "teacher"
    )
    config_file = os.path.join(folder, checkpoint.HF_CONFIG_FILE)
    raw = checkpoint.read_json(config_file)
    config = ConvBertConfig.from_dict(raw, config_file)
    config = dataclasses.replace(config, embedding_size=config.hidden_size)
    model = ConvBertModel(config)
    for layer in model.encoder.layers:
        layer.self_attn = BertAttention(config.hidden_size, config.num_attention_heads)
    weights = checkpoint.read_weights(os.path.join(folder, checkpoint.HF_WEIGHTS_FILE))
    body = {name: array for name, array in weights.items() if not name.startswith("pooler.")}
    model.load_weights(to_paddle(body, model.state_dict(), "ConvBertModel", raw), folder)
    model.eval()
    for parameter in model.parameters():
        parameter.stop_gradient = True
    return model
