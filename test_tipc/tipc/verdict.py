"""Judging a run by the JSON its programs wrote. Every function returns what is wrong, as lines."""

from __future__ import annotations

import json
import math
from typing import Any

from paddlenlp.utils.errors import UserError

# How far an engine may be from the dygraph model: largest difference of a probability, and share
# of texts whose label may differ.
TOLERANCES: dict[str, dict[str, float]] = {
    "fp32": {"prob": 1e-5, "labels": 0.0},
    "fp16": {"prob": 2e-2, "labels": 0.01},
    "bf16": {"prob": 5e-2, "labels": 0.02},
    # Of two classes the same one has at least 0.5 in both, so this asks for nothing: where integer
    # kernels saturate (no VNNI), a probability moves by up to 0.4 and accuracy hardly.
    "int8": {"prob": 5e-1, "labels": 0.05},
}
MAX_ACCURACY_DROP = 0.03  # of int8 against fp32


def read_json(path: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: it is missing or is none.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise UserError("file-unreadable", f"cannot read {path}: {error}") from None
    if not isinstance(content, dict):
        raise UserError("file-damaged", f"{path} holds no JSON object")
    return content


def read_record(path: str) -> dict[str, Any]:
    """Read a recorded expectation.

    Raises:
        UserError: it is missing or damaged.
    """
    record = read_json(path)
    missing = {"input_sha256", "accuracy", "accuracy_atol"} - set(record)
    if missing or ("label_id" in record) != ("prob" in record):
        raise UserError(
            "file-damaged",
            f"{path} is no recorded expectation: make it with compare_results.py record",
        )
    return record


def read_answers(path: str) -> dict[str, list]:
    """Read answers as ``{"label_id": [...], "prob": [...]}``, from JSON lines or one object.

    Raises:
        UserError: the file is missing, empty or of another kind.
    """
    if not path.endswith(".jsonl"):
        content = read_json(path)
        rows = None
    else:
        try:
            with open(path, encoding="utf-8") as file:
                rows = [json.loads(line) for line in file]
        except (OSError, ValueError) as error:
            raise UserError("file-unreadable", f"cannot read {path}: {error}") from None
        content = {name: [row.get(name) for row in rows] for name in ("label_id", "prob")}
    labels, probs = content.get("label_id"), content.get("prob")
    if not labels or not probs or len(labels) != len(probs):
        raise UserError("file-damaged", f"{path} holds no answers (label_id and prob)")
    return {"label_id": labels, "prob": probs}


def check_expected(results: dict[str, Any], expected: dict[str, str]) -> list[str]:
    """Compare what an engine says about itself with what the run asked for."""
    wrong = []
    for name, wanted in expected.items():
        found = str(results.get(name))
        kind = found.split(":")[0] if name == "device" else found
        if kind != wanted:
            wrong.append(f"{name} is {found}, asked for {wanted}")
    return wrong


def check_answers(
    answers: dict[str, list], reference: dict[str, list], precision: str, name: str
) -> list[str]:
    """Compare label ids and probabilities with those of a reference."""
    allowed = TOLERANCES[precision]
    labels, other = answers["label_id"], reference["label_id"]
    if len(labels) != len(other):
        return [f"{len(labels)} answers against {len(other)} of {name}"]
    wrong = []
    differing = [row for row, pair in enumerate(zip(labels, other), start=1) if pair[0] != pair[1]]
    if len(differing) > allowed["labels"] * len(labels):
        wrong.append(f"{len(differing)} labels differ from {name}, the first in row {differing[0]}")
    # Where the label differs, the probabilities are of different classes.
    same = [
        abs(mine - its)
        for mine, its, a, b in zip(answers["prob"], reference["prob"], labels, other)
        if a == b
    ]
    worst = max((math.inf if math.isnan(gap) else gap for gap in same), default=0.0)
    if worst > allowed["prob"]:
        wrong.append(f"a probability differs from {name} by {worst:.1e} (> {allowed['prob']:.0e})")
    return wrong


def check_accuracy(results: dict[str, Any], record: dict[str, Any], name: str) -> list[str]:
    """Compare the accuracy with the recorded one, within the recorded tolerance."""
    found, wanted, allowed = results.get("accuracy"), record["accuracy"], record["accuracy_atol"]
    if found is None or not abs(found - wanted) <= allowed:
        return [f"accuracy {found}, {name} has {wanted} +- {allowed}"]
    return []


def check_record(results: dict[str, Any], record: dict[str, Any], name: str) -> list[str]:
    """Compare with a recorded expectation: accuracy, and answers where it has them."""
    wrong = check_accuracy(results, record, name)
    if "label_id" in record:
        answers = {key: results[key] for key in ("label_id", "prob")}
        wrong += check_answers(answers, record, results["precision"], name)
    return wrong


def check_quantized(answers: dict[str, list], baseline: dict[str, list], name: str) -> list[str]:
    """Compare the answers of a quantized model with the float ones: near them, and not the same."""
    wrong = check_answers(answers, baseline, "int8", name)
    if _same(answers, baseline):
        wrong.append(f"the probabilities of {name}: nothing in this model is quantized")
    return wrong


def check_integer(answers: dict[str, list], rounded: dict[str, list], name: str) -> list[str]:
    """Tell integer kernels from the roundings alone: they also round what passes between layers."""
    return (
        [f"the probabilities of {name}: no integer kernel ran"] if _same(answers, rounded) else []
    )


def _same(answers: dict[str, list], other: dict[str, list]) -> bool:
    """Whether two lists of answers differ by no more than two float engines do."""
    return not check_answers(answers, other, "fp32", "")


def check_drop(results: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    """Compare the accuracy of a quantized model with that of the float one."""
    after, before = results.get("accuracy"), baseline.get("accuracy")
    if after is None or before is None:
        return ["no accuracy to compare: the texts have no labels"]
    if before - after > MAX_ACCURACY_DROP:
        drop = f"{before - after:.4f} (> {MAX_ACCURACY_DROP})"
        return [f"accuracy falls from {before:.4f} to {after:.4f}, by {drop}"]
    return []


def describe_drop(results: dict[str, Any], baseline: dict[str, Any]) -> str:
    """Say in one line what quantization changed: labels, probabilities, accuracy, time."""
    pairs = list(zip(results["label_id"], baseline["label_id"]))
    probs = zip(results["prob"], baseline["prob"])
    shift = max((abs(a - b) for (a, b), (x, y) in zip(probs, pairs) if x == y), default=0.0)
    labels = sum(x != y for x, y in pairs)
    parts = [f"{labels} of {len(pairs)} labels changed, a probability by {shift:.2g} at most"]
    for name, row in (("quantized", results), ("float", baseline)):
        median = (row.get("batch_ms") or {}).get("median")
        time = "" if median is None else f", {median:.2f} ms a batch"
        parts.append(f"{name}: accuracy {row.get('accuracy')}{time}")
    return "; ".join(parts)


def check_training(
    metrics: dict[str, Any],
    device: str,
    processes: int,
    steps: int | None = None,
) -> list[str]:
    """Judge metrics.json of train.py: whole, on that device, by that many processes."""
    wrong = check_expected(metrics, {"device": device, "processes": str(processes)})
    if metrics.get("finished") is not True:
        wrong.append(f"stopped at step {metrics.get('steps')} of {metrics.get('total_steps')}")
    if steps is not None and metrics.get("steps") != steps:
        wrong.append(f"{metrics.get('steps')} steps done, asked for {steps}")
    dev = (metrics.get("best") or {}).get("dev") or {}
    values = next(iter(dev.values()), {})
    if not math.isfinite(values.get("loss") or math.nan):
        wrong.append("no evaluation with a finite loss")
    return wrong
