"""Checks the JSON that the programs write, never their logs.

`training`, `engine` and `answers` return the errors, as lines; `find_record` returns the recorded
result to compare an engine with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write
from paddlenlp.utils.products import sha256
from tipc.config import ROOT

RESULTS = ROOT / "test_tipc" / "results"
Answers = dict[str, list]  # label_id: [N] ints, prob: [N] floats

# How far an engine may differ from the dygraph model: largest difference of a probability, and
# share of texts whose label may differ.
TOLERANCES: dict[str, dict[str, float]] = {
    "fp32": {"prob": 1e-5, "labels": 0.0},
    "fp16": {"prob": 2e-2, "labels": 0.01},
    "bf16": {"prob": 5e-2, "labels": 0.02},
    "int8": {"prob": 0.25, "labels": 0.05},
}
MAX_ACCURACY_DROP = 0.03  # of int8 compared with fp32


def training(metrics: Path, device: str, processes: int, steps: int | None = None) -> list[str]:
    """Check metrics.json of train.py: finished, with this device and number of processes."""
    content = read_json(metrics)
    wrong = check_expected(content, {"device": device, "processes": processes})
    if content.get("finished") is not True:
        wrong.append(f"stopped at step {content.get('steps')} of {content.get('total_steps')}")
    if steps is not None and content.get("steps") != steps:
        wrong.append(f"{content.get('steps')} steps done, expected {steps}")
    dev = (content.get("best") or {}).get("dev") or {}
    values = next(iter(dev.values()), {})
    if not math.isfinite(values.get("loss") or math.nan):
        wrong.append("no evaluation with a finite loss")
    return wrong


def engine(
    results: Path,
    expect: Mapping[str, Any],
    reference: Path | None = None,
    baseline: Path | None = None,
    gt_file: Path | None = None,
) -> list[str]:
    """Check the results of an inference engine.

    Args:
        results: file written by ``--save_results``.
        expect: settings that it must report, such as device, precision and batch_size.
        reference: answers to compare with.
        baseline: for a quantized model, the results of the float model.
        gt_file: recorded result.
    """
    content, own = read_json(results), read_answers(results)
    precision = content.get("precision", "fp32")
    if precision not in TOLERANCES:
        raise UserError("tipc", f"{results}: unknown precision {precision}")
    wrong = check_expected(content, expect)
    if reference:
        wrong += check_answers(own, read_answers(reference), precision, reference)
    if baseline:
        wrong += check_quantized(content, read_json(baseline), baseline)
    if gt_file:
        wrong += check_record(content, own, read_record(gt_file), gt_file)
    return wrong


def answers(answers: Path, reference: Path, precision: str = "fp32") -> list[str]:
    """Check answers that have no report of the engine."""
    return check_answers(read_answers(answers), read_answers(reference), precision, reference)


def record(
    results: Path,
    input_file: Path,
    gt_file: Path,
    accuracy_atol: float = 0.0,
    accuracy_only: bool = False,
) -> None:
    """Record results for comparison with later runs on the texts in ``input_file``."""
    content = read_json(results)
    expected = {
        "input_sha256": sha256(input_file),
        "accuracy": content["accuracy"],
        "accuracy_atol": accuracy_atol,
    }
    if not accuracy_only:
        expected["label_id"] = content["label_id"]
        expected["prob"] = [round(prob, 7) for prob in content["prob"]]
    with atomic_write(gt_file) as file:
        json.dump(expected, file)
        file.write("\n")


def find_record(model_name: str, key: str, texts: str | None, notes: list[str]) -> Path | None:
    """The recorded result for these texts; add a note if there is none.

    Raises:
        UserError: the record is damaged.
    """
    path = RESULTS / f"{model_name}_{key}.json"
    if texts is None or not path.is_file():
        note = f"no recorded result for {model_name}, {key}"
    elif read_record(path)["input_sha256"] != sha256(Path(ROOT, texts)):
        note = f"{path.name} was recorded with other texts than {texts}: not compared"
    else:
        return path
    if note not in notes:
        notes.append(note)
    return None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: the file is missing or does not contain one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError("file-unreadable", f"cannot read {path}: {error}") from None
    if not isinstance(content, dict):
        raise UserError("file-damaged", f"{path} does not contain a JSON object")
    return content


def read_record(path: Path) -> dict[str, Any]:
    """Read a recorded result.

    Raises:
        UserError: it is missing or damaged.
    """
    content = read_json(path)
    missing = {"input_sha256", "accuracy", "accuracy_atol"} - set(content)
    if missing or ("label_id" in content) != ("prob" in content):
        how = "make it with compare_results.py record"
        raise UserError("file-damaged", f"{path} is not a recorded result: {how}")
    return content


def read_answers(path: Path) -> Answers:
    """Read answers from an object, or from JSON lines if the name ends in .jsonl.

    Raises:
        UserError: the file is missing, has no answers, or has another format.
    """
    if path.suffix == ".jsonl":
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise UserError("file-unreadable", f"cannot read {path}: {error}") from None
        content = {name: [row.get(name) for row in rows] for name in ("label_id", "prob")}
    else:
        content = read_json(path)
    labels, probs = content.get("label_id"), content.get("prob")
    if not labels or not probs or len(labels) != len(probs):
        raise UserError("file-damaged", f"{path} has no answers (label_id and prob)")
    return {"label_id": labels, "prob": probs}


def check_expected(results: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Compare the settings that a program reports with those that the run requested."""
    wrong = []
    for name, wanted in expected.items():
        found = str(results.get(name))
        kind = found.split(":")[0] if name == "device" else found  # gpu:0 counts as gpu
        if kind != str(wanted):
            wrong.append(f"{name} is {found}, expected {wanted}")
    return wrong


def check_answers(answers: Answers, reference: Answers, precision: str, name: Path) -> list[str]:
    """Compare label ids and probabilities with those of a reference."""
    allowed = TOLERANCES[precision]
    labels, other = answers["label_id"], reference["label_id"]
    if len(labels) != len(other):
        return [f"{len(labels)} answers, but {name} has {len(other)}"]
    wrong = []
    differing = [row for row, pair in enumerate(zip(labels, other), start=1) if pair[0] != pair[1]]
    if len(differing) > allowed["labels"] * len(labels):
        wrong.append(f"{len(differing)} labels differ from {name}, the first in row {differing[0]}")
    gaps = _gaps(answers, reference)
    worst = max((math.inf if math.isnan(gap) else gap for gap in gaps), default=0.0)
    if worst > allowed["prob"]:
        wrong.append(f"a probability differs from {name} by {worst:.1e} (> {allowed['prob']:.0e})")
    return wrong


def _gaps(answers: Answers, reference: Answers) -> list[float]:
    """Differences of the probabilities in rows with equal labels (others are of two classes)."""
    rows = zip(answers["prob"], reference["prob"], answers["label_id"], reference["label_id"])
    return [abs(prob - other) for prob, other, label, wanted in rows if label == wanted]


def check_record(
    results: Mapping[str, Any], answers: Answers, record: Mapping[str, Any], name: Path
) -> list[str]:
    """Compare with a recorded result: accuracy, and answers if it has them."""
    found, wanted, allowed = results.get("accuracy"), record["accuracy"], record["accuracy_atol"]
    wrong = []
    if found is None or not abs(found - wanted) <= allowed:
        wrong.append(f"accuracy {found}, but {name} has {wanted} +- {allowed}")
    if "label_id" in record:
        wrong += check_answers(answers, record, results["precision"], name)
    return wrong


def check_quantized(
    results: Mapping[str, Any], baseline: Mapping[str, Any], name: Path
) -> list[str]:
    """Compare a quantized model with the float one: answers must be similar but not equal.

    Prints one line about the changes by quantization.
    """
    wrong = check_answers(results, baseline, "int8", name)
    if _same(results, baseline):
        wrong.append(f"the probabilities equal those of {name}: nothing in this model is quantized")
    after, before = results.get("accuracy"), baseline.get("accuracy")
    if after is None or before is None:
        return [*wrong, "no accuracy to compare: the texts have no labels"]
    if before - after > MAX_ACCURACY_DROP:
        drop = f"from {before:.4f} to {after:.4f}, by more than {MAX_ACCURACY_DROP}"
        wrong.append(f"accuracy falls {drop}")
    changed = sum(a != b for a, b in zip(results["label_id"], baseline["label_id"]))
    parts = [f"{changed} of {len(results['label_id'])} labels changed"]
    parts.append(f"a probability by at most {max(_gaps(results, baseline), default=0.0):.2g}")
    for kind, row in (("quantized", results), ("float", baseline)):
        median = (row.get("batch_ms") or {}).get("median", math.nan)
        parts.append(f"{kind}: accuracy {row['accuracy']:.4f}, {median:.2f} ms per batch")
    print(f"compare_results: {'; '.join(parts)}")
    return wrong


def _same(answers: Answers, other: Answers) -> bool:
    """Whether answers differ at most as much as those of two float engines may."""
    return not check_answers(answers, other, "fp32", Path())
