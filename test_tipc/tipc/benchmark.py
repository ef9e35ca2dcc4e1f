"""The chain of benchmark_train.sh: one training per case, and its speed in TIPC's format."""

import itertools
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from paddlenlp.utils.checkout import git
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write
from paddlenlp.utils.products import read_manifest
from tipc import judge
from tipc.plan import Plan, Step
from tipc.train_infer import device_of, launcher, processes

# TIPC's name of one combination: batch size, number format, devices (N1C2: one node, two cards).
CASE = re.compile(r"[^_]+_bs(\d+)_(fp32|null|fp16|bf16)_DP_(N1C[1248])")
AMP_DTYPES = {"fp16": "float16", "bf16": "bfloat16"}


def plan_benchmark(plan: Plan, case: str = "") -> None:
    """Add a training for a case such as ``dynamic_bs8_fp32_DP_N1C1``, or for all cases."""
    slots = map(plan.config.values, ("bench_batch", "fp_items"))
    cases = itertools.product(*slots, ["N1C1"])
    if case:
        found = CASE.fullmatch(case)
        if not found:
            how = "give a case such as dynamic_bs8_fp32_DP_N1C1, with N1C1, N1C2, N1C4 or N1C8"
            raise UserError("command-line", f"unknown case '{case}': {how}")
        cases = [found.groups()]
    for batch, precision, tag in cases:
        _add_training(plan, batch, precision.replace("null", "fp32"), tag)


def _add_training(plan: Plan, batch: str, precision: str, tag: str) -> None:
    config, cards = plan.config, int(tag[-1])
    on_cpu = config.values("gpu_list")[0].startswith("-1")
    if precision != "fp32" and on_cpu:
        raise config.fail("fp_items", f"{precision} needs a GPU, but gpu_list names the CPU")
    gpus = ",".join(["-1"] * cards if on_cpu else map(str, range(cards)))
    run_type = "SingleP" if cards == 1 else "MultiP"
    model_name = f"{config.value('model_name')}_bs{batch}_{precision}_{run_type}_DP"
    name = f"{model_name}_{tag}"
    output, variables = plan.folder / name, config.value("flags")
    start = ["env", *variables.split(";")] if variables else []
    start += launcher(plan.python, gpus, plan.folder / f"{name}_launch")
    values = {"train_device": device_of(gpus), "save_model": output, "train_batch": batch}
    command = plan.command("norm_train", "pretrained", "train_extra", start=start, **values)
    length = config.key("bench_length").replace("epoch", "num_train_epochs")
    command.append(f"--{length}={config.value('bench_length')}")
    if precision in AMP_DTYPES:
        command += ["--use_amp=True", f"--amp_dtype={AMP_DTYPES[precision]}"]
    facts = {
        "model_name": model_name,
        "batch_size": int(batch),
        "fp_item": precision,
        "run_process_type": run_type,
        "run_mode": "DP",
        "device_num": tag,
    }
    check = partial(judge_speed, output, gpus, plan.folder / "index" / f"{name}_speed", facts)
    log = plan.folder / "train_log" / f"{name}_log"
    plan.add(Step("train", command, log, [output / "metrics.json"], check))


def judge_speed(output: Path, gpus: str, speed: Path, facts: dict[str, Any]) -> None:
    """Check a training (its output_dir) and write its speed: a line of JSON with TIPC's fields."""
    judge.training(output / "metrics.json", device_of(gpus), processes(gpus))
    metrics = judge.read_json(output / "metrics.json")
    rows = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    train = [row for row in rows if row["kind"] == "train"]
    report = {
        "model_branch": git("rev-parse", "--abbrev-ref", "HEAD") or "unknown",
        "model_commit": git("rev-parse", "HEAD") or "unknown",
        **facts,
        "frame_version": read_manifest(output / "best.pdparams")["made_by"]["paddle"],
        "convergence_value": train[-1]["loss"],
        "convergence_key": "loss:",
        "ips": round(steady_ips(train), 3),
        "speed_unit": "samples/s",
        "device": metrics["device"],
        "model_run_time": round(metrics["training_seconds"], 3),
    }
    with atomic_write(speed) as file:
        file.write(json.dumps(report) + "\n")


def steady_ips(train: list[dict[str, Any]]) -> float:
    """Examples per second after the first printed line, over all processes."""
    if len(train) < 2:
        raise judge.Wrong("fewer than two printed lines: lower --logging_steps or train longer")
    seconds = [row["seconds"] - before["seconds"] for before, row in zip(train, train[1:])]
    examples = [row["examples_per_second"] * spent for row, spent in zip(train[1:], seconds)]
    return sum(examples) / sum(seconds)
