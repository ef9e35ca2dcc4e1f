"""Reading config.yml: an unknown key, a wrong type or a value out of range is an error.

The schema is a plain table: pydantic would need as many lines, and five packages.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any, NamedTuple

from convbert.inference.engines import PRECISIONS, EngineOptions, installed
from convbert.inference.engines.openvino import MODEL_FILES
from convbert.serving.protocol import SERVICE_NAME
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.parsing import MAX_YAML_CHARS, parse_yaml

LOOPBACK = "127.0.0.1"
# The models that OpenVINO reads: one that was quantized for it, or a program of Paddle 2.x.
(QUANTIZED, _), (PROGRAM, _) = MODEL_FILES


class Between(NamedTuple):
    """An integer or float from ``low`` to ``high``."""

    low: float
    high: float


class Matching(NamedTuple):
    """A string that matches ``pattern``."""

    pattern: str
    wanted: str


# The allowed values of each key: a range means an integer in it, a tuple one of its values, a dict
# another section. The reasons for the defaults are comments in config.yml.
_PORT = range(1024, 65536)
_FLAG = (True, False)
_SCHEMA = {
    "http_port": _PORT,
    "rpc_port": _PORT,
    "worker_num": range(1, 1025),
    "dag": {
        "is_thread_op": _FLAG,
        "use_profile": _FLAG,
    },
    "op": {
        SERVICE_NAME: {
            "concurrency": range(1, 257),
            "batch_size": range(1, 1025),
            "auto_batching_timeout": range(-1, 1001),
            "local_service_conf": {
                "model_config": Matching(".+", "a folder"),
                "device_type": (-1, 0, 1),
                "devices": Matching(
                    r"\s*(\d+\s*(,\s*\d+\s*)*)?", "numbers of GPUs, like '0,1', or ''"
                ),
                "thread_num": range(1, 1025),
                "engine": ("auto", "paddle", "openvino"),
                "use_mkldnn": _FLAG,
                "mkldnn_cache_capacity": range(10001),
                "precision": ("auto", *PRECISIONS),
            },
        }
    },
    "service": {
        "max_seq_len": range(3, 4097),
        "pad_multiple": range(1, 513),
        "run_texts": range(1, 1025),
        "warm_up_length": range(4097),
        "max_texts": range(1, 100001),
        "max_text_chars": range(1, 10**7 + 1),
        "max_body_bytes": range(1024, 2**28 + 1),
        "max_in_flight": range(1, 1025),
        "request_timeout_s": Between(0.1, 3600),
        "start_timeout_s": Between(1, 3600),
        "log_file_bytes": range(10**4, 10**9 + 1),
        "log_files": range(2, 101),
    },
}


# Keys of earlier releases that had no effect, or only one value that works.
_REMOVED = ("build_dag_each_worker", "retry", "channel_size", "tracer", "client_type")
# Defaults of keys that may be missing, because earlier releases did not have them.
_DEFAULTS = {"engine": "paddle"}


class Address(NamedTuple):
    """Where a server listens; as text ``HOST:PORT``, with brackets around an IPv6 host."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> Address:
        """The address to use on this machine."""
        return Address(LOOPBACK, self.port) if self.host in ("0.0.0.0", "::") else self

    @property
    def is_loopback(self) -> bool:
        """Whether no other machine can reach it."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


@dataclass(frozen=True)
class Settings:
    """The checked configuration of one service, flags applied.

    Args:
        config: config.yml as read.
        model_dir: the served model.
        http: address and port of the HTTP front end.
        rpc: address and port of the gRPC server.
    """

    config: dict[str, Any]
    model_dir: str
    http: Address
    rpc: Address

    @property
    def service(self) -> dict[str, Any]:
        """The section with this service's own settings."""
        return self.config["service"]

    @property
    def op(self) -> dict[str, Any]:
        """The section of the one Op."""
        return self.config["op"][SERVICE_NAME]

    @property
    def local(self) -> dict[str, Any]:
        """How the Op runs the model."""
        return self.op["local_service_conf"]

    @property
    def gpus(self) -> list[int]:
        """The numbers of the GPUs to run on; empty for the CPU."""
        named = [int(number) for number in re.findall(r"\d+", self.local["devices"])]
        return named or ([0] if self.local["device_type"] == 1 else [])

    def _has(self, model_file: str) -> bool:
        return os.path.isfile(os.path.join(self.model_dir, model_file))

    def _precision(self) -> str:
        """The configured precision; "auto": int8 if OpenVINO's model is quantized, else fp32."""
        if self.local["precision"] != "auto":
            return self.local["precision"]
        return "int8" if self._has(QUANTIZED) else "fp32"

    def _engine(self) -> str:
        """The configured engine; "auto" is OpenVINO if it can run this model, else Paddle."""
        if self.local["engine"] != "auto":
            return self.local["engine"]
        on_cpu = self.local["use_mkldnn"] and not self.gpus and installed("openvino")
        plain = on_cpu and self._precision() in ("fp32", "bf16") and self._has(PROGRAM)
        int8 = self._precision() == "int8" or self._has(QUANTIZED)  # Paddle cannot run these
        return "openvino" if plain or int8 else "paddle"

    def resolved(self) -> list[str]:
        """Return the values chosen for "auto", as overrides for the process that runs the model.

        So a restarted pipeline uses the values that the front end reports, even if files have
        changed.
        """
        options = self.engine_options()
        section = f"op.{SERVICE_NAME}.local_service_conf"
        return [f"{section}.{name}={getattr(options, name)}" for name in ("engine", "precision")]

    def engine_options(self, worker: int = 0) -> EngineOptions:
        """Return the engine options of worker number ``worker``; GPUs are assigned in turn."""
        local, gpus = self.local, self.gpus
        return EngineOptions(
            engine=self._engine(),
            use_gpu=bool(gpus),
            gpu_id=gpus[worker % len(gpus)] if gpus else 0,
            use_mkldnn=local["use_mkldnn"] and not gpus,
            cpu_threads=local["thread_num"],
            precision=self._precision(),
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
        host, rpc_host: addresses to listen on; "" is every IPv4 address.

    Raises:
        UserError: the file is unreadable, a key is unknown or missing, or a value is out of range.
    """
    config = _read_yaml(path)
    for override in overrides:
        _apply(config, override)
    problem = _problem(config, _SCHEMA) or _contradiction(config)
    if problem:
        raise UserError("settings", f"{path}: {problem}")
    configured = config["op"][SERVICE_NAME]["local_service_conf"]["model_config"]
    served = model_dir or os.path.join(os.path.dirname(os.path.abspath(path)), configured)
    http = Address(host or "0.0.0.0", config["http_port"])
    rpc = Address(rpc_host or "0.0.0.0", config["rpc_port"])
    settings = Settings(config, os.path.abspath(served), http, rpc)
    settings.engine_options()  # rejects a precision that the device does not support
    return settings


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            config = parse_yaml(file.read(MAX_YAML_CHARS + 1))
    except OSError as error:
        raise UserError(
            "file-unreadable", f"cannot read --config {path}: {error.strerror}"
        ) from None
    except ValueError as error:
        raise UserError("settings", f"{path} is not plain YAML: {error}") from None
    if not isinstance(config, dict):
        raise UserError(
            "settings", f"{path} has no settings: start from deploy/serving_python/config.yml"
        )
    return config


def _apply(config: dict[str, Any], override: str) -> None:
    dotted, equals, value = override.partition("=")
    *parents, last = dotted.strip().split(".")
    try:
        section = reduce(getitem, parents, config)
        # In YAML "0,1" and 0 would be numbers, and an empty value would be null.
        text = last == "devices" or not value.strip()
        section[last] = value.strip() if text else parse_yaml(value)
    except (KeyError, TypeError, ValueError):
        equals = ""
    if not equals:
        raise UserError(
            "command-line",
            f"--opt {override}: write SECTION.KEY=VALUE with a section of the config and a YAML "
            "value, for example dag.use_profile=true",
        )


def _problem(section: Any, schema: dict[str, Any], prefix: str = "") -> str:
    """Return the first error in a section, or ""."""
    if not isinstance(section, dict):
        return f"'{prefix.rstrip('.')}' must be a section of settings"
    for key in section:
        if key in _REMOVED:
            return f"'{prefix}{key}' is no longer a setting: remove it"
        if key not in schema:
            near = difflib.get_close_matches(str(key), schema, n=1, cutoff=0.5)
            hint = f" (did you mean '{near[0]}'?)" if near else f": use one of {', '.join(schema)}"
            return f"unknown key '{prefix}{key}'{hint}"
    for key, rule in schema.items():
        if key not in section and key not in _DEFAULTS:
            return f"'{prefix}{key}' is missing"
        section.setdefault(key, _DEFAULTS.get(key))
        problem = _wrong_value(section[key], rule, prefix + key)
        if problem:
            return problem
    return ""


def _wrong_value(value: Any, rule: Any, name: str) -> str:
    """Return the error of a value, or "" if it follows the rule."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match rule:
        case dict():
            return _problem(value, rule, f"{name}.")
        case range():
            good = number and value in rule and isinstance(value, int)
            wanted = f"an integer from {rule.start} to {rule.stop - 1}"
        case Between(low, high):
            good, wanted = number and low <= value <= high, f"a number from {low} to {high}"
        case Matching(pattern, wanted):
            good = isinstance(value, str) and re.fullmatch(pattern, value)
        case tuple():
            good = any(type(value) is type(choice) and value == choice for choice in rule)
            wanted = " or ".join(map(str, rule))
    return "" if good else f"'{name}' is {value!r}, expected {wanted}"


def _contradiction(config: dict[str, Any]) -> str:
    """Return which two values contradict each other, or ""."""
    local = config["op"][SERVICE_NAME]["local_service_conf"]
    if config["http_port"] == config["rpc_port"]:
        return f"http_port and rpc_port are both {config['http_port']}"
    if local["device_type"] == 0 and local["devices"].strip():
        return (
            f"device_type 0 is the CPU but devices names GPUs '{local['devices']}': "
            "set device_type 1 for the GPU, or devices '' for the CPU"
        )
    return ""
