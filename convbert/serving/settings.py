"""Reading config.yml: every key is known, typed and within its bounds, or the start fails."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from convbert.inference.engines import PRECISIONS, EngineOptions
from convbert.serving.requests import Limits
from convbert.serving.runtime import LOOPBACK, reached_at
from paddlenlp.utils.errors import UserError

SERVICE_NAME = "convbert"

# A rule returns what is expected, or None when the value is fine.
Rule = Callable[[Any], str | None]


def _integer(low: int, high: int) -> Rule:
    def rule(value):
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if good else f"an integer from {low} to {high}"

    return rule


def _seconds(low: float, high: float) -> Rule:
    def rule(value):
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        return None if good and low <= value <= high else f"a number from {low} to {high}"

    return rule


def _one_of(*choices: Any, why: str = "") -> Rule:
    def rule(value):
        if any(type(value) is type(choice) and value == choice for choice in choices):
            return None
        return " or ".join(str(choice) for choice in choices) + (f" ({why})" if why else "")

    return rule


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "a text"


_DEADLOCK = "Paddle Serving 0.9.0 deadlocks otherwise"
_PORT = _integer(1024, 65535)
_LOCAL_SERVICE = {
    "client_type": _one_of("local_predictor"),
    "model_config": _text,
    "device_type": _one_of(-1, 0, 1, why="by devices, cpu, gpu"),
    "devices": _text,
    "thread_num": _integer(1, 1024),
    "use_mkldnn": _one_of(True, False),
    "mkldnn_cache_capacity": _integer(0, 10000),
    "precision": _one_of(*PRECISIONS),
}
_SCHEMA = {
    "http_port": _PORT,
    "rpc_port": _PORT,
    "worker_num": _integer(1, 1024),
    "build_dag_each_worker": _one_of(False, why="one pipeline, several workers"),
    "dag": {
        "is_thread_op": _one_of(True, False),
        "retry": _one_of(1, why=_DEADLOCK),
        "channel_size": _one_of(0, why=_DEADLOCK),
        "use_profile": _one_of(True, False),
        "tracer": {"interval_s": _integer(-1, 3600)},
    },
    "op": {
        SERVICE_NAME: {
            "concurrency": _integer(1, 256),
            "batch_size": _integer(1, 1024),
            "auto_batching_timeout": _integer(-1, 1000),
            "local_service_conf": _LOCAL_SERVICE,
        }
    },
    "service": {
        "max_seq_len": _integer(3, 4096),
        "pad_multiple": _integer(1, 512),
        "run_texts": _integer(1, 1024),
        "warm_up_length": _integer(0, 4096),
        "max_texts": _integer(1, 100000),
        "max_text_chars": _integer(1, 10**7),
        "max_body_bytes": _integer(1024, 2**28),
        "max_in_flight": _integer(1, 1024),
        "request_timeout_s": _seconds(0.1, 3600),
        "start_timeout_s": _seconds(1, 3600),
        "log_file_bytes": _integer(10**4, 10**9),
        "log_files": _integer(1, 100),
    },
}


@dataclass(frozen=True)
class Settings:
    """The validated configuration of one service, flags applied."""

    config: dict[str, Any]
    model_dir: str
    host: str = LOOPBACK
    rpc_host: str = LOOPBACK

    @property
    def http_port(self) -> int:
        """Port of the HTTP front."""
        return self.config["http_port"]

    @property
    def rpc_port(self) -> int:
        """Port of the pipeline's gRPC server."""
        return self.config["rpc_port"]

    @property
    def rpc_address(self) -> str:
        """Where this machine reaches the gRPC server."""
        return reached_at(self.rpc_host, self.rpc_port)

    @property
    def loopback_only(self) -> bool:
        """Whether no other machine can reach either port."""
        return all(
            h in ("localhost", "::1") or h.startswith("127.") for h in (self.host, self.rpc_host)
        )

    @property
    def service(self) -> dict[str, Any]:
        """The section of this service's own settings."""
        return self.config["service"]

    @property
    def op(self) -> dict[str, Any]:
        """The section of the one Op."""
        return self.config["op"][SERVICE_NAME]

    @property
    def limits(self) -> Limits:
        """Bounds on one request."""
        keys = ("max_texts", "max_text_chars", "max_body_bytes")
        return Limits(**{key: self.service[key] for key in keys})

    @property
    def gpus(self) -> list[int]:
        """The numbers of the GPUs to run on; none for the CPU."""
        local = self.op["local_service_conf"]
        named = [int(device) for device in local["devices"].split(",") if device.strip()]
        return named or ([0] if local["device_type"] == 1 else [])

    def engine_options(self, worker: int = 0) -> EngineOptions:
        """How worker number ``worker`` runs the program; GPUs are dealt out in turn."""
        local, gpus = self.op["local_service_conf"], self.gpus
        use_gpu = bool(gpus)
        return EngineOptions(
            use_gpu=use_gpu,
            gpu_id=gpus[worker % len(gpus)] if gpus else 0,
            use_mkldnn=local["use_mkldnn"] and not use_gpu,
            cpu_threads=local["thread_num"],
            precision=local["precision"],
            mkldnn_cache_capacity=local["mkldnn_cache_capacity"],
        )


def load_settings(
    path: str,
    overrides: Sequence[str] = (),
    model_dir: str | None = None,
    host: str = LOOPBACK,
    rpc_host: str = LOOPBACK,
) -> Settings:
    """Read a configuration file, apply ``KEY.KEY=VALUE`` overrides, and check the result.

    Args:
        path: YAML file; ``model_config`` in it is relative to its directory.
        overrides: as given to ``--opt``; values are YAML.
        model_dir: the served model instead of the configured one.
        host, rpc_host: addresses to listen on.

    Raises:
        UserError: unreadable file, a key that is unknown or missing, or a value out of bounds.
    """
    config = _read_yaml(path)
    for override in overrides:
        _apply(config, override)
    problems = _problems(config, _SCHEMA, "")
    if problems:
        raise UserError("settings", f"{path}: {problems[0]}")
    if config["http_port"] == config["rpc_port"]:
        raise UserError(
            "settings", f"{path}: http_port and rpc_port are both {config['http_port']}"
        )
    configured = config["op"][SERVICE_NAME]["local_service_conf"]["model_config"]
    served = model_dir or os.path.join(os.path.dirname(os.path.abspath(path)), configured)
    settings = Settings(config, os.path.abspath(served), host, rpc_host)
    _check_devices(path, settings)
    return settings


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            config = yaml.safe_load(file)
    except OSError as error:
        raise UserError(
            "file-unreadable", f"cannot read --config {path}: {error.strerror}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise UserError("settings", f"{path} is not YAML: {line}") from None
    if not isinstance(config, dict):
        raise UserError(
            "settings", f"{path} is empty or no table of settings: see deploy/serving_python"
        )
    return config


def _apply(config: dict[str, Any], override: str) -> None:
    dotted, equals, value = override.partition("=")
    if not equals:
        raise UserError(
            "command-line", f"--opt {override}: write KEY=VALUE, for example worker_num=8"
        )
    *parents, last = dotted.strip().split(".")
    section = config
    for parent in parents:
        section = section.get(parent)
        if not isinstance(section, dict):
            raise UserError(
                "command-line", f"--opt {override}: there is no section '{parent}' in the config"
            )
    try:
        section[last] = yaml.safe_load(value) if value.strip() else ""
    except yaml.YAMLError:
        raise UserError("command-line", f"--opt {override}: the value is not YAML") from None
    if last == "devices":  # "0,1" and 0 both read as numbers
        section[last] = value.strip()


def _problems(section: Any, schema: dict[str, Any], prefix: str) -> list[str]:
    """Return what is wrong with a section, worst first; [] if nothing."""
    if not isinstance(section, dict):
        return [f"'{prefix.rstrip('.')}' must be a table of settings"]
    found = []
    for key in section:
        if key not in schema:
            near = difflib.get_close_matches(str(key), schema, n=1, cutoff=0.5)
            hint = f" (did you mean '{near[0]}'?)" if near else f": one of {', '.join(schema)}"
            found.append(f"unknown key '{prefix}{key}'{hint}")
    for key, rule in schema.items():
        if key not in section:
            found.append(f"'{prefix}{key}' is missing")
        elif isinstance(rule, dict):
            found += _problems(section[key], rule, f"{prefix}{key}.")
        else:
            expected = rule(section[key])
            if expected:
                found.append(f"'{prefix}{key}' is {section[key]!r}, expected {expected}")
    return found


def _check_devices(path: str, settings: Settings) -> None:
    local = settings.op["local_service_conf"]
    devices = [device.strip() for device in local["devices"].split(",") if device.strip()]
    if not all(device.isdecimal() for device in devices):
        raise UserError(
            "settings", f"{path}: devices '{local['devices']}' must list GPU numbers, like '0,1'"
        )
    if local["device_type"] == 0 and devices:
        raise UserError(
            "settings",
            f"{path}: device_type 0 is the CPU but devices names GPUs '{local['devices']}': "
            "set device_type 1 for the GPU, or devices '' for the CPU",
        )
    settings.engine_options()  # refuses a precision that the device cannot run
