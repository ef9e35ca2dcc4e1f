"""All nine GLUE tasks through train.py on files in the official formats."""

import numpy as np
import paddle
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from convbert.text.processing import TextProcessor
from convbert.training.tasks import TASKS
from paddlenlp.datasets import GLUE_TASKS, load_dataset
from paddlenlp.transformers import ConvBertForSequenceClassification
from tests.helpers.training import FIXTURES, read_log, read_summary, tiny_flags

# name -> (outputs, dev splits, metric that selects)
EXPECTED = {
    "cola": (2, ("dev",), "mcc"),
    "sst-2": (2, ("dev",), "acc"),
    "mrpc": (2, ("dev",), "acc"),
    "sts-b": (1, ("dev",), "spearman"),
    "qqp": (2, ("dev",), "acc"),
    "mnli": (3, ("dev_matched", "dev_mismatched"), "acc"),
    "qnli": (2, ("dev",), "acc"),
    "rte": (2, ("dev",), "acc"),
    "wnli": (2, ("dev",), "acc"),
}


def apart(name, scores, labels):
    """The metrics of a task straight from scikit-learn and SciPy."""
    if name == "sts-b":
        pearson = stats.pearsonr(scores[:, 0], labels)[0]
        spearman = stats.spearmanr(scores[:, 0], labels)[0]
        return {"pearson": pearson, "spearman": spearman, "corr": (pearson + spearman) / 2}
    preds = scores.argmax(axis=1)
    if name == "cola":
        return {"mcc": sklearn_metrics.matthews_corrcoef(labels, preds)}
    values = {"acc": sklearn_metrics.accuracy_score(labels, preds)}
    if name in ("mrpc", "qqp"):
        for metric in ("precision", "recall", "f1"):
            score = getattr(sklearn_metrics, f"{metric}_score")
            values[metric] = score(labels, preds, zero_division=0)
        values["acc_and_f1"] = (values["acc"] + values["f1"]) / 2
    return values


def loss_apart(name, scores, labels):
    """Mean squared error or mean cross entropy in float64."""
    scores = scores.astype(np.float64)
    if name == "sts-b":
        return np.mean((scores[:, 0] - labels) ** 2)
    log_sum = np.log(np.exp(scores).sum(axis=1))
    return np.mean(log_sum - scores[np.arange(len(labels)), labels])


def score_one_by_one(checkpoint, name, split):
    """Logits [examples, C] and labels of a split: no batches, no padding, no code of training."""
    model = ConvBertForSequenceClassification.from_pretrained(str(checkpoint))
    model.eval()
    processor = TextProcessor.from_dir(str(checkpoint), max_seq_len=32)
    examples = load_dataset("glue", name, splits=split, data_dir=FIXTURES)
    rows = []
    for example in examples:
        texts = [example[key] for key in ("sentence", "sentence1", "sentence2") if key in example]
        text = texts[0] if len(texts) == 1 else tuple(texts)
        arrays = processor.collate(processor.encode([text]))
        rows.append(model(*map(paddle.to_tensor, arrays)).numpy()[0])
    return np.stack(rows), np.array([example["labels"] for example in examples])


@pytest.mark.parametrize("name", EXPECTED)
def test_task_trains_and_its_metric_is_right(name, call_script, tmp_path, tiny_checkpoint):
    flags = tiny_flags(tiny_checkpoint, FIXTURES, tmp_path, task_name=name, batch_size=4)
    done = call_script("train.py", *flags)
    assert done.returncode == 0, done.stderr
    summary = read_summary(tmp_path)
    classes, splits, selection = EXPECTED[name]
    assert summary["finished"]
    assert summary["selection"] == selection
    assert tuple(summary["best"]["dev"]) == splits
    for split in splits:
        reported = summary["best"]["dev"][split]
        scores, labels = score_one_by_one(tmp_path / "best.pdparams", name, split)
        assert scores.shape == (len(labels), classes)
        loss = reported.pop("loss")
        assert loss == pytest.approx(loss_apart(name, scores, labels), rel=1e-5)
        # Pearson of scores that hardly differ magnifies the last bit of float32.
        assert reported == pytest.approx(apart(name, scores, labels), abs=1e-5)
    first_split = [r[selection] for r in read_log(tmp_path, "eval") if r["split"] == splits[0]]
    assert summary["best"]["dev"][splits[0]][selection] == max(first_split)


def test_the_table_is_complete():
    assert list(TASKS) == list(GLUE_TASKS) == list(EXPECTED)
