"""Our side of the alignment: Paddle dygraph, loading the reference's checkpoints. Writes dumps.

Gradients and parameters are dumped under transformers' names, through the table that converts
checkpoints, so that both sides' files hold the same keys and shapes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.machine import set_cpu_environment

set_cpu_environment()

import numpy as np
import paddle
import paddle.nn.functional as F

from alignment import cases, dumps
from convbert.training.optimizer import make_optimizer, make_schedule
from paddlenlp import metrics, transformers
from paddlenlp.transformers.convbert import weight_names
from paddlenlp.transformers.convbert.conversion import convert


def main(argv=None) -> int:
    """Write the dumps of one size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("size")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)
    paddle.set_device("cpu")
    out = args.work / "ours" / args.size
    metric(args.work / "ours" / "metric.npy")
    forward_and_loss(args.work / "hf" / args.size / "body", out, args.quick)
    heads(args.work, args.size, out)
    backward(args.work / "hf" / args.size / "body", out, args.quick)
    training(args.work, args.size, out)
    return 0


def load(directory: Path, architecture: str, **overrides):
    """Load a checkpoint in transformers' layout; convolutions see padding, as the reference's."""
    overrides = {"mask_padding_in_conv": False, **overrides}
    model = getattr(transformers, architecture).from_pretrained(
        str(directory), new_head=False, **overrides
    )
    model.eval()
    return model


def random_model(config, architecture: str):
    """Build a model with the random weights that the reference has under the same names."""
    model = getattr(transformers, architecture)(config)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    names = weight_names.to_hf(state, config, architecture)
    weights = cases.random_weights({name: array.shape for name, array in names.items()})
    settings = weight_names.HEADS[architecture].hf_settings
    weights = weight_names.to_paddle(weights, config, architecture, settings)
    model.load_weights(weights, "alignment/cases.py")
    model.eval()
    return model


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, paddle.Tensor]:
    """Arrays as Paddle tensors."""
    return {name: paddle.to_tensor(array) for name, array in arrays.items()}


@paddle.no_grad()
def forward_and_loss(checkpoint: Path, out: Path, quick: bool) -> None:
    """Dump the hidden states of every layer, logits and loss over the grid."""
    model = load(checkpoint, "ConvBertForSequenceClassification")
    masking = load(checkpoint, "ConvBertForSequenceClassification", mask_padding_in_conv=True)
    for case in cases.forward_cases(quick):
        inputs = tensors(case.inputs(model.config.vocab_size))
        labels = paddle.to_tensor(case.labels(cases.CLASSES))
        _, states = model.convbert(**inputs, output_hidden_states=True)
        logits = model(**inputs)  # not from the last state: the whole model as users call it
        dumped = {f"state_{i}": state.numpy() for i, state in enumerate(states)}
        dumps.dump(out / "forward" / f"{case.name}.npy", {**dumped, "logits": logits.numpy()})
        loss = F.cross_entropy(logits, labels)
        dumps.dump(out / "loss" / f"{case.name}.npy", {"loss": loss.numpy()})
        if case.form != "plain" and case.batch == 3:
            logits = masking(**inputs).numpy()
            dumps.dump(out / "alone" / f"{case.name}.npy", {"logits": logits})


def heads(work: Path, size: str, out: Path) -> None:
    """Dump logits, loss and gradients of every head; convert every checkpoint back."""
    losses, answers = {}, {}
    for head in cases.HEAD_CASES:
        source = work / "hf" / size / head.name
        model = load(source, head.architecture)
        inputs = head.inputs(model.config.vocab_size)
        labels = tensors(head.labels(model.config.vocab_size))
        outputs = model(**tensors(inputs))
        mask = paddle.to_tensor(inputs["attention_mask"])
        loss = head_loss(head, outputs, labels, mask)
        loss.backward()
        losses[head.name] = float(loss)
        answers[head.architecture] = (outputs, labels, mask)
        for what in ("heads", "converted"):  # the second: after the way back through transformers
            dumps.dump(out / what / f"{head.name}.npy", named_logits(outputs))
        if size != "convbert-base":
            dumps.dump(out / "heads_backward" / f"{head.name}.npy", gradients(model))
        ours = work / "paddle" / size / head.name
        convert(str(source), str(ours), "paddle", head.architecture)
        convert(str(ours), str(work / "converted" / size / head.name), "hf")
    losses["pretraining"] = pretraining_loss(
        answers["ConvBertGenerator"], answers["ConvBertDiscriminator"]
    )
    dumps.dump(out / "heads_loss.npy", {name: np.array([loss]) for name, loss in losses.items()})


def pretraining_loss(generator, discriminator) -> float:
    """The criterion on the (logits, labels, mask) of both models."""
    (gen_logits, gen_labels, _), (disc_logits, disc_labels, mask) = generator, discriminator
    criterion = transformers.ConvBertPretrainingCriterion(gen_logits.shape[-1])
    gen_labels, disc_labels = gen_labels["labels"], disc_labels["labels"]
    return float(criterion(gen_logits, disc_logits, gen_labels, disc_labels, mask))


def named_logits(outputs) -> dict[str, np.ndarray]:
    """Name a head's outputs as transformers does."""
    if isinstance(outputs, tuple):
        return {"start_logits": outputs[0].numpy(), "end_logits": outputs[1].numpy()}
    return {"logits": outputs.numpy()}


def head_loss(head: cases.HeadCase, outputs, labels, mask: paddle.Tensor) -> paddle.Tensor:
    """The usual loss of a head."""
    if head.architecture == "ConvBertForQuestionAnswering":
        ends = zip(outputs, (labels["start_positions"], labels["end_positions"]))
        return sum(F.cross_entropy(logits, position) for logits, position in ends) / 2
    labels = labels["labels"]
    criterion = transformers.ConvBertPretrainingCriterion(outputs.shape[-1])
    if head.architecture == "ConvBertGenerator":
        return criterion.generator_loss(outputs, labels)
    if head.architecture == "ConvBertDiscriminator":
        return criterion.discriminator_loss(outputs, labels, mask)
    if head.classes == 1:
        return F.mse_loss(outputs.squeeze(-1), labels)
    logits, labels = outputs.reshape([-1, outputs.shape[-1]]), labels.flatten()
    # Not its mean: Paddle 3.3.1 divides that by the ignored tokens too.
    total = F.cross_entropy(logits, labels, ignore_index=cases.IGNORED, reduction="sum")
    return total / (labels != cases.IGNORED).sum().astype(total.dtype)


def gradients(model) -> dict[str, np.ndarray]:
    """Gradient of every parameter, under transformers' names and shapes."""
    grads = {name: p.grad.numpy() for name, p in model.named_parameters()}
    return weight_names.to_hf(grads, model.config, type(model).__name__)


def backward(checkpoint: Path, out: Path, quick: bool) -> None:
    """Dump the gradient of every parameter."""
    model = load(checkpoint, "ConvBertForSequenceClassification")
    for case in cases.gradient_cases(quick):
        model.clear_gradients()
        labels = paddle.to_tensor(case.labels(cases.CLASSES))
        logits = model(**tensors(case.inputs(model.config.vocab_size)))
        F.cross_entropy(logits, labels).backward()
        dumps.dump(out / "backward" / f"{case.name}.npy", gradients(model))


def training(work: Path, size: str, out: Path) -> None:
    """Dump the loss of every step and the parameters after the last, by train.py's optimizer."""
    settings = cases.TRAINING
    model = load(work / "hf" / size / "training", "ConvBertForSequenceClassification")
    schedule = make_schedule(
        "linear", settings["learning_rate"], settings["steps"], settings["warmup_steps"]
    )
    optimizer = make_optimizer(
        model,
        schedule,
        model.config.num_hidden_layers,
        settings["layer_lr_decay"],
        settings["weight_decay"],
        settings["epsilon"],
    )
    losses, batches = [], dumps.load(work / "batches.npy")
    for step in range(settings["steps"]):
        ids, types, labels = (
            paddle.to_tensor(batches[f"{name}_{step}"])
            for name in ("input_ids", "token_type_ids", "labels")
        )
        loss = F.cross_entropy(model(ids, types), labels)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    state = {name: p.numpy() for name, p in model.named_parameters()}
    weights = weight_names.to_hf(state, model.config, type(model).__name__)
    dumps.dump(out / "training_loss.npy", {"losses": np.array(losses)})
    dumps.dump(out / "training_parameters.npy", weights)


def metric(path: Path) -> None:
    """Dump every metric of GLUE, fed in uneven batches."""
    results = {}
    for kind, predictions, labels in cases.metric_inputs():
        if kind == "scores":
            found = measure(metrics.PearsonAndSpearman(), predictions, labels)
            results.update(pearson=found["pearson"], spearman=found["spearman"])
            continue
        results[f"{kind}/acc"] = measure(metrics.Accuracy(), predictions, labels)["acc"]
        if kind == "classes_2":
            results["f1"] = measure(metrics.AccuracyAndF1(), predictions, labels)["f1"]
            results["mcc"] = measure(metrics.Mcc(), predictions, labels)["mcc"]
    dumps.dump(path, {name: np.array([value]) for name, value in results.items()})


def measure(instance, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Feed a metric in batches of 31 and read it."""
    for start in range(0, len(labels), 31):
        part = slice(start, start + 31)
        instance.update(
            instance.compute(paddle.to_tensor(predictions[part]), paddle.to_tensor(labels[part]))
        )
    return instance.results()


if __name__ == "__main__":
    sys.exit(main())
