"""What the TIPC tests share: configurations to change, a fake python, a started run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
TIPC = ROOT / "test_tipc"
CONFIGS = TIPC / "configs" / "ConvBERT"
CPU_CONFIG = CONFIGS / "train_linux_cpu_normal_normal_infer_python_linux_cpu.txt"
SERVING_CONFIG = CONFIGS / "model_linux_cpu_normal_normal_serving_python_linux_cpu.txt"
TRAIN_SCRIPT = "test_tipc/test_train_inference_python.sh"
SERVING_SCRIPT = "test_tipc/test_serving.sh"
sys.path.insert(0, str(TIPC))


def changed(path: Path, lines: dict[int, str]) -> str:
    """The text of a configuration with some lines (numbers from 1) replaced."""
    text = path.read_text(encoding="utf-8").splitlines()
    for number, line in lines.items():
        text[number - 1] = line
    return "\n".join(text) + "\n"


def error_code(printed: str) -> str:
    """The code in brackets at the end of the one line that a refused command printed."""
    assert printed.count("\n") == 1, printed
    return printed.rpartition("[")[2].rstrip("]\n")


def _default_signals() -> None:
    """The runner leaves a signal ignored that was ignored at its start, as with nohup."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class FakeRun:
    """A place to run the TIPC scripts in, with the fake python of tests/fixtures/tipc."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.output = folder / "output"
        self.python = folder / "fake_python"
        fake = ROOT / "tests" / "fixtures" / "tipc" / "fake_python.py"
        self.python.write_text(
            '#!/bin/sh\n[ "$1" != -c ] || { echo "answer:[\\"$FAKE_MISSING\\", 8]"; exit; }\n'
            f'exec "{sys.executable}" "{fake}" "$@"\n'
        )
        self.python.chmod(0o755)
        self.texts = folder / "dev.tsv"
        self.texts.write_text("sentence\tlabel\na\t0\nb\t1\nc\t1\n")

    def train_config(self, lines: dict[int, str] = {}) -> Path:  # noqa: B006
        """A configuration of five steps in lite mode: train, eval, export, infer twice."""
        mode = "lite_train_lite_infer"
        fixed = {
            2: "model_name:Fake",
            3: f"python:{self.python}",
            4: "gpu_list:-1",
            10: f"--model_name_or_path:{self.folder}",
            12: f"train_infer_file:{mode}={self.texts}",
            13: f"--data_dir:{self.folder}",
            34: f"kl_quant:tools/quantize_model.py --calib_file {self.texts}",
            42: "--use_mkldnn:True|False",
            43: "--cpu_threads:2",
            44: "--batch_size:8",
        }
        return self._write("train.txt", changed(CPU_CONFIG, {**fixed, **lines}))

    def serving_config(self, lines: dict[int, str] = {}) -> Path:  # noqa: B006
        """A configuration of five steps: infer, convert, serve, client, stop."""
        model = self.folder / "exported"
        model.mkdir(exist_ok=True)
        (model / "inference.pdiparams").write_text("weights")
        fixed = {
            2: "model_name:Fake",
            3: f"python:{self.python}",
            5: f"--dirname:{model}",
            13: "op.convbert.local_service_conf.use_mkldnn:True",
            18: f"--input_file:{self.texts}",
        }
        return self._write("serving.txt", changed(SERVING_CONFIG, {**fixed, **lines}))

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, script: str, *args, plan: dict = {}, **env: str) -> subprocess.Popen:  # noqa: B006
        """Start a script of test_tipc as a user would."""
        environment = {
            **os.environ,
            "TIPC_OUTPUT": str(self.output),
            "FAKE_STATE": str(self.folder / "state"),
            "FAKE_PLAN": json.dumps(plan),
            **env,
        }
        return subprocess.Popen(
            ["bash", str(ROOT / script), *map(str, args)],
            cwd=str(self.folder),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_default_signals,
        )

    def run(self, script: str, *args, plan: dict = {}, **env: str):  # noqa: B006
        """Run a script to its end; returns the exit status and everything printed."""
        process = self.start(script, *args, plan=plan, **env)
        printed, _ = process.communicate(timeout=120)
        return process.returncode, printed

    def calls(self) -> list[str]:
        """The command lines the fake python was called with."""
        path = self.folder / "state" / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run_dirs(self) -> list[Path]:
        """The run folders."""
        found = self.output.glob("*")
        return sorted(path for path in found if path.is_dir() and not path.is_symlink())

    def statuses(self) -> dict[str, str]:
        """Name and status of each step of the only run, such as {"1 train": "OK"}."""
        (run_dir,) = self.run_dirs()
        lines = (run_dir / "summary.txt").read_text().splitlines()
        rows = [line.split() for line in lines if line[:1].isdigit()]
        return {f"{number} {name}": status for number, name, status, *_ in rows}


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
