"""The reference: ConvBERT of transformers on PyTorch, an independent implementation.

    reference.py WORK SIZE whole|quick|converted

run.py starts it in a separate environment without Paddle. It writes checkpoints in transformers'
layout for our side, and the results; with "converted", the results of the checkpoints that our side
converted back. The training loop is plain PyTorch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from torch import nn
from transformers.models.electra.modeling_electra import (
    ElectraConfig,
    ElectraDiscriminatorPredictions,
)

from alignment import cases
from alignment.dumps import Arrays
from alignment.grid import Side
from paddlenlp.transformers import checkpoint
from paddlenlp.transformers.convbert.configuration import PRESETS

CLASSIFIER = "ConvBertForSequenceClassification"


class Reference(Side):
    """transformers' models with the random weights of `cases`."""

    name = "reference"

    def body(self) -> nn.Module:
        """Return the classifier of three classes; write its checkpoint."""
        model = build(self.size, CLASSIFIER)
        model.save_pretrained(self.checkpoints / "body")
        return model

    @torch.no_grad()
    def forward(self, model, case: cases.Case) -> Arrays:
        """Return hidden states, logits and loss."""
        inputs = tensors(case.inputs(model.config.vocab_size))
        labels = torch.from_numpy(case.labels(cases.CLASSES))
        result = model(**inputs, labels=labels, output_hidden_states=True)
        found = {f"state_{i}": state.numpy() for i, state in enumerate(result.hidden_states)}
        return {**found, "logits": result.logits.numpy(), "loss": result.loss.numpy()}

    @torch.no_grad()
    def without_padding(self, model, case: cases.Case) -> np.ndarray:
        """Return the logits of each row alone, without padding."""
        inputs, rows = tensors(case.inputs(model.config.vocab_size)), []
        for row, mask in enumerate(inputs["attention_mask"]):
            alone = {name: x[row : row + 1, : int(mask.sum())] for name, x in inputs.items()}
            rows.append(model(**alone).logits)
        return torch.cat(rows).numpy()

    def backward(self, model, case: cases.Case) -> None:
        """Compute new gradients of the classification loss."""
        model.zero_grad()
        labels = torch.from_numpy(case.labels(cases.CLASSES))
        model(**tensors(case.inputs(model.config.vocab_size)), labels=labels).loss.backward()

    def gradients(self, model) -> Arrays:
        """Return the gradient of every parameter."""
        return gradients(model)

    def head(self, head: cases.HeadCase) -> tuple[Arrays, float, object]:
        """Return logits, loss and model of a head; write its checkpoint in both file formats."""
        model = build(self.size, head.architecture, head.classes)
        model.save_pretrained(self.checkpoints / head.name)
        torch.save(model.state_dict(), self.checkpoints / head.name / checkpoint.HF_TORCH_FILE)
        result = answer(model, head)
        result["loss"].backward()
        return logits_of(result), result["loss"].item(), model

    def pretraining_loss(self, losses: dict[str, float]) -> float:
        """Return ELECTRA's weighted sum, which transformers does not have."""
        return losses["ConvBertGenerator_2"] + 50 * losses["ConvBertDiscriminator_2"]

    def train(self, batches: Arrays) -> tuple[list[float], Arrays]:
        """Train with torch's AdamW, one parameter group for each tensor; write the initial
        weights."""
        model = build(self.size, CLASSIFIER, classes=2)
        model.save_pretrained(self.checkpoints / "training")
        optimizer = torch.optim.AdamW(parameter_groups(model), eps=cases.TRAINING["epsilon"])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, linear_schedule)
        losses = []
        for step in range(cases.TRAINING["steps"]):
            names = ("input_ids", "token_type_ids", "labels")
            batch = tensors({name: batches[f"{name}_{step}"] for name in names})
            mask = (batch["input_ids"] != cases.PAD).long()
            loss = model(**batch, attention_mask=mask).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        return losses, {name: p.detach().numpy() for name, p in model.named_parameters()}

    def metrics(self) -> dict[str, float]:
        """Return all metrics of GLUE, from scikit-learn and SciPy."""
        from scipy import stats
        from sklearn import metrics

        results = {}
        for kind, predictions, labels in cases.metric_inputs():
            if kind == "scores":
                pair = predictions[:, 0].astype(np.float64), labels.astype(np.float64)
                results["pearson"] = stats.pearsonr(*pair)[0]
                results["spearman"] = stats.spearmanr(*pair)[0]
                continue
            chosen = predictions.argmax(axis=1)
            results[f"{kind}/acc"] = metrics.accuracy_score(labels, chosen)
            if kind == "classes_2":
                results["f1"] = metrics.f1_score(labels, chosen)
                results["mcc"] = metrics.matthews_corrcoef(labels, chosen)
        return results

    @torch.no_grad()
    def write_converted(self) -> None:
        """Write the logits of the checkpoints that our side converted to Paddle and back.

        Also compare our reader's result for ``pytorch_model.bin``, which needs torch but not
        Paddle, with that for ``model.safetensors``.
        """
        for head in cases.HEAD_CASES:
            model = load_converted(self.work / "converted" / self.size / head.name, head)
            self.save(f"converted/{head.name}", logits_of(answer(model, head)))
            check_bin(self.checkpoints / head.name)


class Discriminator(nn.Module):
    """transformers' ConvBERT with its ELECTRA head; transformers has no such class."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.convbert = transformers.ConvBertModel(config)
        self.discriminator_predictions = ElectraDiscriminatorPredictions(
            ElectraConfig(hidden_size=config.hidden_size, hidden_act=config.hidden_act)
        )

    def forward(self, labels, **inputs):
        """Return logits [B, L] and ELECTRA's loss over real tokens."""
        logits = self.discriminator_predictions(self.convbert(**inputs)[0])
        active = inputs["attention_mask"] == 1
        loss = nn.BCEWithLogitsLoss()(logits[active], labels[active].float())
        return {"logits": logits, "loss": loss}

    def save_pretrained(self, directory) -> None:
        """Write transformers' layout."""
        self.config.save_pretrained(directory)
        save_file(self.state_dict(), str(Path(directory) / checkpoint.HF_WEIGHTS_FILE))


def build(size: str, architecture: str, classes: int = cases.CLASSES) -> nn.Module:
    """Build the reference model of one of our classes with random weights."""
    settings = cases.CHOICE_SETTINGS if architecture == "ConvBertForMultipleChoice" else {}
    sizes = {**PRESETS, **cases.TINY_SIZES}
    config = transformers.ConvBertConfig(
        **sizes[size], pad_token_id=cases.PAD, num_labels=classes, **settings
    )
    if architecture == "ConvBertDiscriminator":
        model = Discriminator(config)
    else:
        model = getattr(transformers, cases.REFERENCE_CLASSES[architecture])(config)
    weights = cases.random_weights({n: tuple(p.shape) for n, p in model.named_parameters()})
    with torch.no_grad():  # the tied output embeddings follow
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weights[name]))
    # transformers never trains the embedding of [PAD]; ours and the original code do.
    model.convbert.embeddings.word_embeddings.padding_idx = None
    return model.eval()


def tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    """Return arrays as torch tensors."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def gradients(model: nn.Module) -> Arrays:
    """Return the gradient of every parameter."""
    return {name: p.grad.numpy() for name, p in model.named_parameters()}


def answer(model: nn.Module, head: cases.HeadCase):
    """Return the output of a head, with its loss, on its batch."""
    vocab = model.config.vocab_size
    return model(**tensors(head.inputs(vocab)), **tensors(head.labels(vocab)))


def logits_of(result) -> Arrays:
    """Return the logits of an output by name."""
    return {n: v.detach().numpy() for n, v in result.items() if n.endswith("logits")}


def parameter_groups(model: nn.Module) -> list[dict]:
    """Return one group for each tensor: layer-wise learning rate, no decay for vectors."""
    settings, layers = cases.TRAINING, model.config.num_hidden_layers
    return [
        {
            "params": [parameter],
            "lr": settings["learning_rate"] * lr_factor(name, layers),
            "weight_decay": 0.0 if is_vector(name) else settings["weight_decay"],
        }
        for name, parameter in model.named_parameters()
    ]


def lr_factor(name: str, layers: int) -> float:
    """Return ELECTRA's layer-wise factor of a parameter, by its name in transformers."""
    parts = name.split(".")
    if parts[0] != "convbert":
        depth = layers + 2
    elif parts[1] == "encoder":
        depth = int(parts[3]) + 1
    else:
        depth = 0
    return cases.TRAINING["layer_lr_decay"] ** (layers + 2 - depth)


def is_vector(name: str) -> bool:
    """Return whether a parameter is a bias or belongs to a normalization."""
    return name.endswith("bias") or "LayerNorm" in name


def linear_schedule(step: int) -> float:
    """Return the factor of a linear warm-up to 1 and linear decay to 0."""
    warmup, total = cases.TRAINING["warmup_steps"], cases.TRAINING["steps"]
    return step / warmup if step < warmup else (total - step) / (total - warmup)


def load_converted(source: Path, head: cases.HeadCase) -> nn.Module:
    """Load a converted checkpoint; a missing or unexpected tensor is an error."""
    if head.architecture == "ConvBertDiscriminator":
        model = Discriminator(transformers.ConvBertConfig.from_pretrained(source))
        weights = checkpoint.read_weights(str(source / checkpoint.HF_WEIGHTS_FILE))
        model.load_state_dict(tensors(weights), strict=True)
        return model.eval()
    architecture = json.loads((source / checkpoint.HF_CONFIG_FILE).read_text())["architectures"][0]
    load: Callable = getattr(transformers, architecture).from_pretrained
    model, info = load(source, output_loading_info=True)
    left = {what: sorted(names) for what, names in info.items() if names}
    if left:
        raise SystemExit(f"transformers could not use all of {source}: {left}")
    return model.eval()


def check_bin(directory: Path) -> None:
    """Check that our reader finds the same weights in both files of a checkpoint."""
    ours = checkpoint.read_weights(str(directory / checkpoint.HF_TORCH_FILE))
    expected = checkpoint.read_weights(str(directory / checkpoint.HF_WEIGHTS_FILE))
    for name, array in expected.items():
        if not np.array_equal(ours[name], array):
            raise SystemExit(f"{directory}: {name} differs between the two files")


def main(work: str, size: str, part: str) -> None:
    """Write the results of one size."""
    transformers.logging.disable_progress_bar()
    side = Reference(Path(work), size)
    if part == "converted":
        side.write_converted()
    else:
        side.write(quick=part == "quick")


if __name__ == "__main__":
    main(*sys.argv[1:])
