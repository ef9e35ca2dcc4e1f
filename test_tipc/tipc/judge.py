"""Checks the JSON that the programs write, never their logs.

`training` and `engine` raise `Wrong`; `find_record` returns the recorded result to compare an
engine with.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paddlenlp.utils.checkout import ROOT
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import sha256

RESULTS = ROOT / "test_tipc" / "results"
Answers = Mapping[str, Any]  # label_id: [N] ints, prob: [N] floats, settings and measurements

# How far an engine may differ from the dygraph model: largest difference of a probability, and
# share of texts whose label may differ.
TOLERANCES = {"fp32": (1e-5, 0.0), "fp16": (2e-2, 0.01), "bf16": (5e-2, 0.02), "int8": (0.25, 0.05)}
RECORD = ("input_sha256", "accuracy", "accuracy_atol")  # and the answers, if they are recorded
MAX_ACCURACY_DROP = 0.03  # of int8 compared with fp32


class Wrong(Exception):
    """A result is not the expected one; the message says which and how."""


def training(metrics: Path, device: str, processes: int, steps: int | None = None) -> None:
    """Check metrics.json of train.py: finished, with this device and number of processes."""
    content = read_json(metrics)
    check_expected(content, {"device": device, "processes": processes, "finished": True})
    if steps is not None:
        check_expected(content, {"steps": steps})
    dev = (content.get("best") or {}).get("dev") or {}
    values = next(iter(dev.values()), {})
    if not math.isfinite(values.get("loss") or math.nan):
        raise Wrong("no evaluation with a finite loss")


def engine(
    results: Path,
    expect: Mapping[str, Any],
    reference: Path | None = None,
    baseline: Path | None = None,
    gt_file: Path | None = None,
    precision: str = "fp32",
) -> None:
    """Check the answers of an inference engine or of the service.

    Args:
        results: file written by ``--save_results``, or JSON lines of answers.
        expect: settings that it must report, such as device, precision and batch_size.
        reference: answers to compare with.
        baseline: for a quantized model, the results of the float model.
        gt_file: recorded result.
        precision: the number format, if the results do not report it.
    """
    content = read_answers(results)
    precision = content.get("precision", precision)
    if precision not in TOLERANCES:
        known = ", ".join(TOLERANCES)
        raise UserError("tipc", f"{results}: unknown precision {precision}, expected {known}")
    check_expected(content, expect)
    if reference:
        check_answers(content, reference, precision)
    if baseline:
        check_quantized(content, baseline)
    if gt_file:
        check_record(content, gt_file)


def find_record(model_name: str, key: str, texts: str | None, notes: list[str]) -> Path | None:
    """The recorded result for these texts; add a note if there is none.

    Raises:
        UserError: the record is damaged.
    """
    path = RESULTS / f"{model_name}_{key}.json"
    if texts is None or not path.is_file():
        notes.append(f"no recorded result for {model_name}, {key}")
    elif read_json(path, *RECORD)["input_sha256"] != sha256(Path(ROOT, texts)):
        notes.append(f"{path.name} was recorded with other texts than {texts}: not compared")
    else:
        return path
    return None


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """Read a JSON object that has these keys, or from JSON lines (.jsonl) a list for each key.

    Raises:
        UserError: the file is missing or contains something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            rows = list(map(json.loads, text.splitlines()))
            content = {name: [row.get(name) for row in rows] for name in needed}
        else:
            content = json.loads(text)
    except (OSError, ValueError, AttributeError) as error:
        raise UserError("file-unreadable", f"cannot read {path}: {error}") from None
    if not isinstance(content, dict) or not set(needed) <= set(content):
        found = f"{path} is not a JSON object with {', '.join(needed) or 'names'}"
        raise UserError("file-damaged", f"{found}: write the file again")
    return content


def read_answers(path: Path) -> Answers:
    """Read answers, and the report on the engine if there is one; errors as `read_json`."""
    content = read_json(path, "label_id", "prob")
    if not content["label_id"] or len(content["label_id"]) != len(content["prob"]):
        found = "no answers, or not as many as probabilities (label_id and prob)"
        raise UserError("file-damaged", f"{path} has {found}: write the file again")
    return content


def check_expected(results: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare the settings that a program reports with those that the run requested."""
    for name, wanted in expected.items():
        found = str(results.get(name))
        kind = found.split(":")[0] if name == "device" else found  # gpu:0 counts as gpu
        if kind != str(wanted):
            raise Wrong(f"{name} is {found}, expected {wanted}")


def check_answers(answers: Answers, reference: Path, precision: str) -> None:
    """Compare label ids and probabilities with those of a reference."""
    other = read_answers(reference)
    count, wanted = len(answers["label_id"]), len(other["label_id"])
    if count != wanted:
        raise Wrong(f"{count} answers, but {reference} has {wanted}")
    allowed, share = TOLERANCES[precision]
    rows, worst = _differences(answers, other)
    if len(rows) > share * count:
        raise Wrong(f"{len(rows)} labels differ from {reference}, the first in row {rows[0]}")
    if worst > allowed:
        raise Wrong(f"a probability differs from {reference} by {worst:.1e} (> {allowed:.0e})")


def _differences(answers: Answers, other: Answers) -> tuple[np.ndarray, float]:
    """Rows (from 1) with different labels; the largest difference of a probability elsewhere."""
    same = np.array(answers["label_id"]) == np.array(other["label_id"])
    gaps = np.abs(np.subtract(answers["prob"], other["prob"]))[same]
    worst = np.nan_to_num(gaps, nan=math.inf).max(initial=0.0)
    return np.flatnonzero(~same) + 1, worst


def check_record(answers: Answers, gt_file: Path) -> None:
    """Compare with a recorded result: accuracy, and answers if it has them."""
    record, found = read_json(gt_file, *RECORD), answers.get("accuracy")
    wanted, allowed = record["accuracy"], record["accuracy_atol"]
    if found is None or not abs(found - wanted) <= allowed:
        raise Wrong(f"accuracy {found}, but {gt_file} has {wanted} +- {allowed}")
    if "label_id" in record:
        check_answers(answers, gt_file, answers["precision"])


def check_quantized(answers: Answers, baseline: Path) -> None:
    """Compare a quantized model with the float one: answers must be similar but not equal.

    Prints one line about the changes by quantization.
    """
    check_answers(answers, baseline, "int8")
    floats = read_answers(baseline)
    rows, worst = _differences(answers, floats)
    line = f"{len(rows)} of {len(answers['label_id'])} labels changed; "
    line += f"a probability by at most {worst:.2g}"
    for kind, row in (("quantized", answers), ("float", floats)):
        if row.get("accuracy") is None:
            raise Wrong("no accuracy to compare: the texts have no labels")
        median = (row.get("batch_ms") or {}).get("median", math.nan)
        line += f"; {kind}: accuracy {row['accuracy']:.4f}, {median:.2f} ms per batch"
    print(f"compare_results: {line}")
    if not len(rows) and worst <= TOLERANCES["fp32"][0]:
        raise Wrong(f"the probabilities equal those of {baseline}: nothing is quantized")
    if floats["accuracy"] - answers["accuracy"] > MAX_ACCURACY_DROP:
        raise Wrong(f"the accuracy falls by more than {MAX_ACCURACY_DROP}")
