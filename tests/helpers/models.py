"""Answers of classifiers to two rows, of which one is padded."""

import paddle

from paddlenlp.transformers import ConvBertForSequenceClassification

IDS = [[2, 9, 11, 8, 3], [2, 7, 3, 0, 0]]


def logits_of(model):
    """Logits [2, C] of a model, or hidden states of a body."""
    model.eval()
    return model(paddle.to_tensor(IDS)).numpy()


def checkpoint_logits(directory):
    """Logits [2, C] of the whole classifier in a checkpoint directory."""
    load = ConvBertForSequenceClassification.from_pretrained
    return logits_of(load(str(directory), new_head=False))
