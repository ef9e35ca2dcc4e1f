"""The five steps of the comparison: what both sides compute, and the files of the results."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alignment import cases, dumps
from alignment.dumps import Arrays


class Side:
    """One implementation of ConvBERT, for one published size.

    A subclass computes the results; all are NumPy arrays with transformers' names and shapes:

    - ``body()``: the classifier of three classes
    - ``forward(model, case)``: hidden states ``state_0`` to ``state_n``, ``logits``, ``loss``
    - ``without_padding(model, case)``: logits [B, C] that do not depend on the padding of the batch
    - ``backward(model, case)``: computes new gradients of the classification loss
    - ``gradients(model)``: the gradient of every parameter
    - ``head(head)``: logits, loss, and the model with its gradients
    - ``pretraining_loss(losses)``: their joint loss, from the losses of all heads
    - ``train(batches)``: the loss of each of 20 steps, and the parameters after them
    - ``metrics()``: all metrics of GLUE

    Args:
        work: folder that both sides share. The reference writes its checkpoints to ``hf/SIZE``,
            each side writes its results to ``NAME/SIZE``.
        size: name of the size.
    """

    name = ""

    def __init__(self, work: Path, size: str):
        self.work, self.size = work, size
        self.checkpoints = work / "hf" / size

    def write(self, quick: bool) -> None:
        """Compute the whole grid (a small part if ``quick``) and write every result."""
        model = self.body()
        for case in cases.forward_cases(quick):
            self.save(f"forward/{case.name}", self.forward(model, case))
            if case.form != "plain" and case.batch == 3:
                self.save(f"alone/{case.name}", {"logits": self.without_padding(model, case)})
        for case in cases.gradient_cases(quick):
            self.backward(model, case)
            self.save(f"backward/{case.name}", self.gradients(model))
        self.write_heads()
        losses, parameters = self.train(dumps.load(self.work / "batches.npz"))
        self.save("training_loss", {"losses": np.array(losses)})
        self.save("training_parameters", parameters)
        self.save("metric", {name: np.array([value]) for name, value in self.metrics().items()})

    def write_heads(self) -> None:
        """Write logits, losses and gradients of every head on one batch."""
        losses = {}
        for head in cases.HEAD_CASES:
            logits, losses[head.name], model = self.head(head)
            self.save(f"heads/{head.name}", logits)
            if self.size != "convbert-base":  # 400 MB for each head
                self.save(f"heads_backward/{head.name}", self.gradients(model))
        losses["pretraining"] = self.pretraining_loss(losses)
        self.save("heads_loss", {name: np.array([loss]) for name, loss in losses.items()})

    def save(self, name: str, arrays: Arrays) -> None:
        """Write one result file of this side."""
        dumps.dump(self.work / self.name / self.size / f"{name}.npz", arrays)
