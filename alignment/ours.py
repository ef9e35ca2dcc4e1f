"""Our side of the comparison: Paddle in dygraph mode, on the checkpoints of the reference."""

from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F

from alignment import cases
from alignment.results import Arrays, Side
from convbert.training.optimizer import make_optimizer
from paddlenlp import metrics, transformers
from paddlenlp.transformers.convbert import weight_names
from paddlenlp.transformers.convbert.conversion import convert

CLASSIFIER = "ConvBertForSequenceClassification"
METRICS = {
    "acc": metrics.Accuracy,
    "f1": metrics.AccuracyAndF1,
    "mcc": metrics.Mcc,
    "pearson": metrics.PearsonAndSpearman,
    "spearman": metrics.PearsonAndSpearman,
}


class Ours(Side):
    """This repository's models; the conversion table gives their results transformers' names."""

    name = "ours"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self._answers = {}  # logits, labels and mask of each head

    def body(self):
        """Return the classifier of three classes."""
        self._masking = load(self.checkpoints / "body", CLASSIFIER, mask_padding_in_conv=True)
        return load(self.checkpoints / "body", CLASSIFIER)

    @paddle.no_grad()
    def forward(self, model, case: cases.Case) -> Arrays:
        """Return hidden states, logits and loss."""
        inputs = tensors(case.inputs(model.config.vocab_size))
        _, states = model.convbert(**inputs, output_hidden_states=True)
        logits = model(**inputs)  # not from the last state: test the model as users call it
        loss = F.cross_entropy(logits, paddle.to_tensor(case.labels(cases.CLASSES)))
        found = {f"state_{number}": state.numpy() for number, state in enumerate(states)}
        return {**found, "logits": logits.numpy(), "loss": loss.numpy()}

    @paddle.no_grad()
    def without_padding(self, model, case: cases.Case) -> np.ndarray:
        """Return the logits of the padded batch, with padding masked in the convolutions."""
        return self._masking(**tensors(case.inputs(model.config.vocab_size))).numpy()

    def backward(self, model, case: cases.Case) -> Arrays:
        """Return the gradients of the classification loss."""
        model.clear_gradients()
        logits = model(**tensors(case.inputs(model.config.vocab_size)))
        F.cross_entropy(logits, paddle.to_tensor(case.labels(cases.CLASSES))).backward()
        return gradients(model)

    def head(self, head: cases.HeadCase) -> tuple[Arrays, float, Arrays]:
        """Return logits, loss and gradients of a head; convert its checkpoint and back."""
        source = self.checkpoints / head.name
        model = load(source, head.architecture)
        inputs = tensors(head.inputs(model.config.vocab_size))
        labels = tensors(head.labels(model.config.vocab_size))
        outputs, mask = model(**inputs), inputs["attention_mask"]
        loss = head_loss(head, outputs, labels, mask)
        loss.backward()
        self._answers[head.architecture] = (outputs, labels.get("labels"), mask)
        logits = named_logits(outputs)
        self.save(f"converted/{head.name}", logits)  # the converted checkpoint must give these
        ours = self.folder / "paddle" / head.name
        convert(str(source), str(ours), "paddle", head.architecture)
        convert(str(ours), str(self.folder / "converted" / head.name), "hf")
        return logits, float(loss), gradients(model)

    def pretraining_loss(self, losses: dict[str, float]) -> float:
        """Return the loss of the criterion that pretraining uses."""
        gen_logits, gen_labels, _ = self._answers["ConvBertGenerator"]
        disc_logits, disc_labels, mask = self._answers["ConvBertDiscriminator"]
        criterion = transformers.ConvBertPretrainingCriterion(gen_logits.shape[-1])
        return float(criterion(gen_logits, disc_logits, gen_labels, disc_labels, mask))

    def train(self, batches: Arrays) -> tuple[list[float], Arrays]:
        """Train with the optimizer and schedule of train.py."""
        settings = cases.TRAINING
        model = load(self.checkpoints / "training", CLASSIFIER)
        schedule = transformers.LinearDecayWithWarmup(
            settings["learning_rate"], settings["steps"], settings["warmup_steps"]
        )
        optimizer = make_optimizer(
            model,
            schedule,
            model.config.num_hidden_layers,
            settings["layer_lr_decay"],
            settings["weight_decay"],
            settings["epsilon"],
        )
        losses = []
        for batch in cases.training_steps(batches):
            ids, types, labels = tensors(batch).values()
            loss = F.cross_entropy(model(ids, types), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.clear_grad()
            losses.append(float(loss))
        state = {name: p.numpy() for name, p in model.named_parameters()}
        return losses, weight_names.to_hf(state, CLASSIFIER)

    def metric(self, name: str, predictions: np.ndarray, labels: np.ndarray) -> float:
        """Return a metric, computed in uneven batches."""
        metric = METRICS[name]()
        for start in range(0, len(labels), 31):
            part = slice(start, start + 31)
            answers = paddle.to_tensor(predictions[part]), paddle.to_tensor(labels[part])
            metric.update(metric.compute(*answers))
        return metric.results()[name]


def load(directory: Path, architecture: str, **overrides):
    """Load a checkpoint in transformers' layout; as there, padding reaches the convolutions."""
    overrides = {"mask_padding_in_conv": False, **overrides}
    model = getattr(transformers, architecture).from_pretrained(
        str(directory), new_head=False, **overrides
    )
    model.eval()
    return model


def random_model(config, architecture: str):
    """Build a model with the same random weights as the reference."""
    model = getattr(transformers, architecture)(config)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    names = weight_names.to_hf(state, architecture)
    weights = cases.random_weights({name: array.shape for name, array in names.items()})
    settings = weight_names.HEADS[architecture].hf_settings
    weights = weight_names.to_paddle(weights, state, architecture, settings)
    model.load_weights(weights, "alignment/cases.py")
    model.eval()
    return model


def tensors(arrays: Arrays) -> dict[str, paddle.Tensor]:
    """Return arrays as Paddle tensors."""
    return {name: paddle.to_tensor(array) for name, array in arrays.items()}


def gradients(model) -> Arrays:
    """Return the gradient of every parameter, under transformers' names and shapes."""
    grads = {name: p.grad.numpy() for name, p in model.named_parameters()}
    return weight_names.to_hf(grads, type(model).__name__)


def named_logits(outputs) -> Arrays:
    """Name the outputs of a head as transformers does."""
    if isinstance(outputs, tuple):
        return {"start_logits": outputs[0].numpy(), "end_logits": outputs[1].numpy()}
    return {"logits": outputs.numpy()}


def head_loss(head: cases.HeadCase, outputs, labels, mask: paddle.Tensor) -> paddle.Tensor:
    """Return the usual loss of a head."""
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
    # Not the mean of Paddle 3.3.1, because that also counts ignored tokens.
    total = F.cross_entropy(logits, labels, ignore_index=cases.IGNORED, reduction="sum")
    return total / (labels != cases.IGNORED).sum().astype(total.dtype)
