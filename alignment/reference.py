"""The reference side: transformers' PyTorch ConvBERT, which nobody here wrote. Runs with torch.

Started by run.py in its own virtual environment; writes checkpoints in transformers' layout for our
side to load, and dumps. The optimizer loop below is plain torch, written apart from ours.
"""

from __future__ import annotations

import argparse
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

from alignment import cases, dumps
from paddlenlp.transformers import checkpoint
from paddlenlp.transformers.convbert.configuration import PRESETS


def main(argv=None) -> int:
    """Write the dumps of one size, or of the checkpoints that our side converted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("size")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--converted", action="store_true", help="read our side's checkpoints")
    args = parser.parse_args(argv)
    transformers.logging.disable_progress_bar()
    if args.converted:
        converted(args.work, args.size)
        return 0
    out = args.work / "reference" / args.size
    metric(args.work / "reference" / "metric.npy")
    forward_and_loss(args.work, args.size, out, args.quick)
    heads(args.work, args.size, out)
    backward(args.size, out, args.quick)
    training(args.work, args.size, out)
    return 0


def build(size: str, architecture: str, classes: int = cases.CLASSES) -> nn.Module:
    """Build the reference model of one of our classes and fill it with random numbers."""
    settings = cases.CHOICE_SETTINGS if architecture == "ConvBertForMultipleChoice" else {}
    sizes = {**PRESETS, **cases.TINY_SIZES}
    config = transformers.ConvBertConfig(
        **sizes[size], pad_token_id=cases.PAD, num_labels=classes, **settings
    )
    if architecture == "ConvBertDiscriminator":
        model = Discriminator(config)
    else:
        model = getattr(transformers, cases.REFERENCE_CLASSES[architecture])(config)
    fill(model)
    # The reference never trains the word of padding; ours does, as the original code.
    model.convbert.embeddings.word_embeddings.padding_idx = None
    return model.eval()


def fill(model: nn.Module) -> None:
    """Replace every parameter; the tied output words follow the input words."""
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    weights = cases.random_weights(shapes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weights[name]))


class Discriminator(nn.Module):
    """transformers' ConvBERT under transformers' ELECTRA head (it has no such class itself)."""

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


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Arrays as torch tensors."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@torch.no_grad()
def forward_and_loss(work: Path, size: str, out: Path, quick: bool) -> None:
    """Dump the hidden states of every layer, logits and loss over the grid."""
    model = build(size, "ConvBertForSequenceClassification")
    model.save_pretrained(work / "hf" / size / "body")
    for case in cases.forward_cases(quick):
        inputs = tensors(case.inputs(model.config.vocab_size))
        labels = torch.from_numpy(case.labels(cases.CLASSES))
        result = model(**inputs, labels=labels, output_hidden_states=True)
        dumped = {f"state_{i}": state.numpy() for i, state in enumerate(result.hidden_states)}
        dumped["logits"] = result.logits.numpy()
        dumps.dump(out / "forward" / f"{case.name}.npy", dumped)
        dumps.dump(out / "loss" / f"{case.name}.npy", {"loss": result.loss.numpy()})
        if case.form != "plain" and case.batch == 3:
            dumps.dump(out / "alone" / f"{case.name}.npy", {"logits": alone(model, inputs)})


def alone(model, inputs: dict[str, torch.Tensor]) -> np.ndarray:
    """Logits [B, C] of each row by itself, without its padding."""
    rows = []
    for row, mask in enumerate(inputs["attention_mask"]):
        length = int(mask.sum())
        rows.append(model(**{name: x[row : row + 1, :length] for name, x in inputs.items()}).logits)
    return torch.cat(rows).numpy()


def heads(work: Path, size: str, out: Path) -> None:
    """Dump logits, loss and gradients of every head on one batch."""
    losses = {}
    for head in cases.HEAD_CASES:
        model = build(size, head.architecture, head.classes)
        directory = work / "hf" / size / head.name
        model.save_pretrained(directory)
        torch.save(model.state_dict(), directory / checkpoint.HF_TORCH_FILE)
        vocab = model.config.vocab_size
        result = model(**tensors(head.inputs(vocab)), **tensors(head.labels(vocab)))
        result["loss"].backward()
        logits = {n: v.detach().numpy() for n, v in result.items() if n.endswith("logits")}
        dumps.dump(out / "heads" / f"{head.name}.npy", logits)
        losses[head.name] = result["loss"].item()
        if size != "convbert-base":  # the body's gradients of that size are compared apart
            dumps.dump(out / "heads_backward" / f"{head.name}.npy", gradients(model))
    # ELECTRA's sum, which transformers has nowhere.
    losses["pretraining"] = losses["ConvBertGenerator_2"] + 50 * losses["ConvBertDiscriminator_2"]
    dumps.dump(out / "heads_loss.npy", {name: np.array([loss]) for name, loss in losses.items()})


def gradients(model: nn.Module) -> dict[str, np.ndarray]:
    """Gradient of every parameter."""
    return {name: p.grad.numpy() for name, p in model.named_parameters()}


def backward(size: str, out: Path, quick: bool) -> None:
    """Dump the gradient of every parameter."""
    model = build(size, "ConvBertForSequenceClassification")
    for case in cases.gradient_cases(quick):
        model.zero_grad()
        labels = torch.from_numpy(case.labels(cases.CLASSES))
        model(**tensors(case.inputs(model.config.vocab_size)), labels=labels).loss.backward()
        dumps.dump(out / "backward" / f"{case.name}.npy", gradients(model))


def training(work: Path, size: str, out: Path) -> None:
    """Dump the loss of every step and the parameters after the last."""
    settings = cases.TRAINING
    model = build(size, "ConvBertForSequenceClassification", classes=2)
    model.save_pretrained(work / "hf" / size / "training")
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [parameter],
                "lr": settings["learning_rate"] * lr_factor(name, model.config.num_hidden_layers),
                "weight_decay": 0.0 if is_vector(name) else settings["weight_decay"],
            }
            for name, parameter in model.named_parameters()
        ],
        eps=settings["epsilon"],
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, linear_schedule)
    losses, batches = [], dumps.load(work / "batches.npy")
    for step in range(settings["steps"]):
        batch = {
            n: torch.from_numpy(batches[f"{n}_{step}"]) for n in ("input_ids", "token_type_ids")
        }
        labels = torch.from_numpy(batches[f"labels_{step}"])
        mask = (batch["input_ids"] != cases.PAD).long()
        loss = model(**batch, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    dumps.dump(out / "training_loss.npy", {"losses": np.array(losses)})
    dumps.dump(out / "training_parameters.npy", weights)


def lr_factor(name: str, layers: int) -> float:
    """ELECTRA's layer-wise factor, by transformers' parameter names."""
    parts = name.split(".")
    if parts[0] != "convbert":
        depth = layers + 2
    elif parts[1] == "encoder":
        depth = int(parts[3]) + 1
    else:
        depth = 0
    return cases.TRAINING["layer_lr_decay"] ** (layers + 2 - depth)


def is_vector(name: str) -> bool:
    """Biases, and gains of normalisation: no weight decay."""
    return name.endswith("bias") or "LayerNorm" in name


def linear_schedule(step: int) -> float:
    """Linear warm-up to 1, then linear decay to 0."""
    warmup, total = cases.TRAINING["warmup_steps"], cases.TRAINING["steps"]
    return step / warmup if step < warmup else (total - step) / (total - warmup)


def metric(path: Path) -> None:
    """Dump every metric of GLUE by scikit-learn and SciPy."""
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
    dumps.dump(path, {name: np.array([value]) for name, value in results.items()})


@torch.no_grad()
def converted(work: Path, size: str) -> None:
    """Load our converted checkpoints with transformers and dump their logits.

    Also reads ``pytorch_model.bin`` with our reader, which needs torch and no Paddle.
    """
    out = work / "reference" / size
    for head in cases.HEAD_CASES:
        source = work / "converted" / size / head.name
        model = load_converted(source, head)
        vocab = model.config.vocab_size
        result = model(**tensors(head.inputs(vocab)), **tensors(head.labels(vocab)))
        logits = {n: v.numpy() for n, v in result.items() if n.endswith("logits")}
        dumps.dump(out / "converted" / f"{head.name}.npy", logits)
        check_bin(work / "hf" / size / head.name)


def load_converted(source: Path, head: cases.HeadCase) -> nn.Module:
    """Load with transformers; a tensor that is missing or left over is an error."""
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
    """pytorch_model.bin and model.safetensors of one model must read alike."""
    ours = checkpoint.read_weights(str(directory / checkpoint.HF_TORCH_FILE))
    expected = checkpoint.read_weights(str(directory / checkpoint.HF_WEIGHTS_FILE))
    for name, array in expected.items():
        if not np.array_equal(ours[name], array):
            raise SystemExit(f"{directory}: {name} differs between the two files")


if __name__ == "__main__":
    sys.exit(main())
