"""The reference: ConvBERT of transformers on PyTorch, an independent implementation.

    reference.py FOLDER whole|quick|converted

run.py starts it in a separate environment without Paddle. It writes checkpoints in transformers'
layout for our side, and the results; with "converted", the results of the checkpoints that our side
converted back. The training loop is plain PyTorch.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import transformers
from scipy import stats
from sklearn import metrics
from torch import nn
from transformers.models.electra.modeling_electra import (
    ElectraConfig,
    ElectraDiscriminatorPredictions,
)

from alignment import cases
from alignment.results import Arrays, Side
from paddlenlp.transformers import checkpoint
from paddlenlp.transformers.convbert.configuration import PRESETS
from paddlenlp.transformers.convbert.weight_names import HEADS

CLASSIFIER = "ConvBertForSequenceClassification"
METRICS = {
    "acc": metrics.accuracy_score,
    "f1": metrics.f1_score,
    "mcc": metrics.matthews_corrcoef,
    "pearson": stats.pearsonr,
    "spearman": stats.spearmanr,
}


class Reference(Side):
    """transformers' models with the random weights of `cases`."""

    name = "reference"

    def body(self) -> nn.Module:
        """Return the classifier of three classes; write its checkpoint."""
        model = build(PRESETS[self.folder.name], CLASSIFIER)
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

    def backward(self, model, case: cases.Case) -> Arrays:
        """Return the gradients of the classification loss."""
        model.zero_grad()
        labels = torch.from_numpy(case.labels(cases.CLASSES))
        model(**tensors(case.inputs(model.config.vocab_size)), labels=labels).loss.backward()
        return gradients(model)

    def head(self, head: cases.HeadCase) -> tuple[Arrays, float, Arrays]:
        """Return logits, loss and gradients of a head; write its checkpoint in both formats."""
        model = build(PRESETS[self.folder.name], head.architecture, head.classes)
        model.save_pretrained(self.checkpoints / head.name)
        torch.save(model.state_dict(), self.checkpoints / head.name / checkpoint.HF_TORCH_FILE)
        result = answer(model, head)
        result["loss"].backward()
        return logits_of(result), result["loss"].item(), gradients(model)

    def pretraining_loss(self, losses: dict[str, float]) -> float:
        """Return ELECTRA's weighted sum, which transformers does not have."""
        return losses["ConvBertGenerator_2"] + 50 * losses["ConvBertDiscriminator_2"]

    def train(self, batches: Arrays) -> tuple[list[float], Arrays]:
        """Train with torch's AdamW, one parameter group for each tensor; write the initial
        weights."""
        model = build(PRESETS[self.folder.name], CLASSIFIER, classes=2)
        model.save_pretrained(self.checkpoints / "training")
        optimizer = torch.optim.AdamW(parameter_groups(model), eps=cases.TRAINING["epsilon"])
        schedule = transformers.get_linear_schedule_with_warmup(
            optimizer, cases.TRAINING["warmup_steps"], cases.TRAINING["steps"]
        )
        losses = []
        for arrays in cases.training_steps(batches):
            batch = tensors(arrays)
            mask = (batch["input_ids"] != cases.PAD).long()
            loss = model(**batch, attention_mask=mask).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        return losses, {name: p.detach().numpy() for name, p in model.named_parameters()}

    def metric(self, name: str, predictions: np.ndarray, labels: np.ndarray) -> float:
        """Return a metric from scikit-learn or SciPy."""
        if name in ("pearson", "spearman"):
            pair = predictions[:, 0].astype(np.float64), labels.astype(np.float64)
            return METRICS[name](*pair)[0]
        return METRICS[name](labels, predictions.argmax(axis=1))

    @torch.no_grad()
    def write_converted(self) -> None:
        """Write the logits of the checkpoints that our side converted to Paddle and back.

        Also compare our reader's result for ``pytorch_model.bin``, which needs torch but not
        Paddle, with that for ``model.safetensors``.
        """
        for head in cases.HEAD_CASES:
            model = load_converted(self.folder / "converted" / head.name, head)
            self.save(f"converted/{head.name}", logits_of(answer(model, head)))
            check_bin(self.checkpoints / head.name)


class ConvBertDiscriminator(transformers.ConvBertPreTrainedModel):
    """transformers' ConvBERT with its ELECTRA head; transformers has no such class."""

    def __init__(self, config):
        super().__init__(config)
        self.convbert = transformers.ConvBertModel(config)
        self.discriminator_predictions = ElectraDiscriminatorPredictions(
            ElectraConfig(hidden_size=config.hidden_size, hidden_act=config.hidden_act)
        )
        self.post_init()

    def forward(self, labels, **inputs):
        """Return logits [B, L] and ELECTRA's loss over real tokens."""
        logits = self.discriminator_predictions(self.convbert(**inputs)[0])
        active = inputs["attention_mask"] == 1
        loss = nn.BCEWithLogitsLoss()(logits[active], labels[active].float())
        return {"logits": logits, "loss": loss}


def build(sizes: dict, architecture: str, classes: int = cases.CLASSES) -> nn.Module:
    """Build the reference model of one of our classes with random weights."""
    settings = {**sizes, **HEADS[architecture].hf_settings}
    config = transformers.ConvBertConfig(**settings, pad_token_id=cases.PAD, num_labels=classes)
    if architecture == "ConvBertDiscriminator":
        model = ConvBertDiscriminator(config)
    else:
        model = getattr(transformers, HEADS[architecture].hf_class)(config)
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
    """Return one group for each tensor: ELECTRA's layer-wise rate, no decay for vectors."""
    settings, layers = cases.TRAINING, model.config.num_hidden_layers
    groups = []
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        depth = int(parts[3]) + 1 if parts[1] == "encoder" else 0
        if parts[0] != "convbert":
            depth = layers + 2
        is_vector = name.endswith("bias") or "LayerNorm" in name
        factor = settings["layer_lr_decay"] ** (layers + 2 - depth)
        groups.append(
            {
                "params": [parameter],
                "lr": settings["learning_rate"] * factor,
                "weight_decay": 0.0 if is_vector else settings["weight_decay"],
            }
        )
    return groups


def load_converted(source: Path, head: cases.HeadCase) -> nn.Module:
    """Load a converted checkpoint; a missing or unexpected tensor is an error."""
    named = json.loads((source / checkpoint.HF_CONFIG_FILE).read_text())["architectures"][0]
    discriminator = head.architecture == "ConvBertDiscriminator"
    model_class = ConvBertDiscriminator if discriminator else getattr(transformers, named)
    model, info = model_class.from_pretrained(source, output_loading_info=True)
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


if __name__ == "__main__":
    transformers.logging.disable_progress_bar()
    place, part = sys.argv[1:]
    side = Reference(Path(place))
    if part == "converted":
        side.write_converted()
    else:
        side.write(quick=part == "quick")
