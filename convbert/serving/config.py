"""Reading config.yml: an unknown key, a wrong type or a value out of range is an error.

The schema is a plain table: pydantic would need as many lines, and five packages.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from convbert.inference.engines import PRECISIONS, EngineOptions, installed
from convbert.inference.engines.openvino import MODEL_FILES
from convbert.serving.protocol import SERVICE_NAME
from paddlenlp.transformers.checkpoint import CONFIG_FILE
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import file_error
from paddlenlp.utils.parsing import MAX_YAML_CHARS, parse_yaml

LOOPBACK = "127.0.0.1"
OP = f"op.{SERVICE_NAME}"
LOCAL = f"{OP}.local_service_conf"
# The models that OpenVINO reads: one that was quantized for it, or a program of Paddle 2.x.
(QUANTIZED, _), (PROGRAM, _) = MODEL_FILES


class Rule(NamedTuple):
    """The allowed values of a key: a test, and its description."""

    allows: Callable[[Any], Any]
    wanted: str


def _integer(low: int, high: int) -> Rule:
    wanted = f"an integer from {low} to {high}"
    return Rule(lambda value: type(value) is int and low <= value <= high, wanted)


def _number(low: float, high: float) -> Rule:
    wanted = f"a number from {low} to {high}"
    return Rule(lambda value: type(value) in (int, float) and low <= value <= high, wanted)


def _one_of(*names: str) -> Rule:
    return Rule(lambda value: value in names, " or ".join(names))


def _text(pattern: str, wanted: str) -> Rule:
    return Rule(lambda value: isinstance(value, str) and re.fullmatch(pattern, value), wanted)


_PORT = _integer(1024, 65535)
_FLAG = Rule(lambda value: isinstance(value, bool), "true or false")
# Every key is needed. The reasons for the shipped values are comments in config.yml.
_RULES = {
    "http_port": _PORT,
    "rpc_port": _PORT,
    "worker_num": _integer(1, 1024),
    "dag.is_thread_op": _FLAG,
    "dag.use_profile": _FLAG,
    f"{OP}.concurrency": _integer(1, 256),
    f"{OP}.batch_size": _integer(1, 1024),
    f"{OP}.auto_batching_timeout": _integer(-1, 1000),
    f"{LOCAL}.model_config": _text(".+", "a folder"),
    f"{LOCAL}.device_type": _integer(-1, 1),
    f"{LOCAL}.devices": _text(r"\s*(\d+\s*(,\s*\d+\s*)*)?", "numbers of GPUs, like '0,1', or ''"),
    f"{LOCAL}.thread_num": _integer(1, 1024),
    f"{LOCAL}.engine": _one_of("auto", "paddle", "openvino"),
    f"{LOCAL}.use_mkldnn": _FLAG,
    f"{LOCAL}.precision": _one_of("auto", *PRECISIONS),
    "service.max_seq_len": _integer(3, 4096),
    "service.pad_multiple": _integer(1, 512),
    "service.run_texts": _integer(1, 1024),
    "service.max_texts": _integer(1, 100000),
    "service.max_text_chars": _integer(1, 10**7),
    "service.max_body_bytes": _integer(1024, 2**28),
    "service.max_in_flight": _integer(1, 1024),
    "service.request_timeout_s": _number(0.1, 3600),
    "service.start_timeout_s": _number(1, 3600),
    "service.log_file_bytes": _integer(10**4, 10**9),
    "service.log_files": _integer(2, 100),
}


class Address(NamedTuple):
    """Where a server listens; as text ``HOST:PORT``, with brackets around an IPv6 host."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> "Address":
        """The address to use on this machine."""
        return Address(LOOPBACK, self.port) if self.host in ("0.0.0.0", "::") else self

    @property
    def is_loopback(self) -> bool:
        """Whether no other machine can reach it."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


@dataclass(frozen=True)
class Settings:
    """The checked configuration of one service, flags applied; ``settings["max_texts"]``.

    ``values`` has the values by the last part of their key.
    """

    values: dict[str, Any]
    model_dir: str
    http: Address
    rpc: Address

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def engine_options(self, worker: int = 0) -> EngineOptions:
        """Return the engine options of worker number ``worker``; GPUs are assigned in turn.

        Precision "auto" is int8 if OpenVINO's model is quantized, else fp32. Engine "auto" is
        OpenVINO if it can run this model, else Paddle.
        """
        gpus = re.findall(r"\d+", self["devices"])
        if not gpus and self["device_type"] == 1:
            gpus = ["0"]
        use_mkldnn = self["use_mkldnn"] and not gpus
        engine, precision = self["engine"], self["precision"]
        if precision == "auto":
            precision = "int8" if self._has(QUANTIZED) else "fp32"
        if engine == "auto":
            plain = use_mkldnn and precision == "fp32"
            plain = plain and self._has(PROGRAM) and self._has(CONFIG_FILE)
            only = precision in ("bf16", "int8") or self._has(QUANTIZED)  # Paddle cannot run these
            engine = "openvino" if only or (plain and installed("openvino")) else "paddle"
        return EngineOptions(
            engine=engine,
            use_gpu=bool(gpus),
            gpu_id=int(gpus[worker % len(gpus)]) if gpus else 0,
            use_mkldnn=use_mkldnn,
            cpu_threads=self["thread_num"],
            precision=precision,
        )

    def _has(self, name: str) -> bool:
        return os.path.isfile(os.path.join(self.model_dir, name))


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
    found = dict(_flat(_read_yaml(path)))
    for override in overrides:
        _apply(found, override)
    found.setdefault(f"{LOCAL}.engine", "paddle")  # earlier releases did not have this key
    if problem := _problem(found):
        raise UserError("settings", f"{path}: {problem}")
    values = {key.rpartition(".")[2]: value for key, value in found.items()}
    served = model_dir or os.path.join(os.path.dirname(path), values["model_config"])
    http = Address(host or "0.0.0.0", values["http_port"])
    rpc = Address(rpc_host or "0.0.0.0", values["rpc_port"])
    settings = Settings(values, os.path.abspath(served), http, rpc)
    settings.engine_options()  # rejects a precision that the device does not support
    return settings


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            config = parse_yaml(file.read(MAX_YAML_CHARS + 1))
    except OSError as error:
        raise file_error(error) from None
    except ValueError as error:
        raise UserError("settings", f"{path} is not plain YAML: {error}") from None
    if not isinstance(config, dict):
        example = "deploy/serving_python/config.yml"
        raise UserError("settings", f"{path} has no settings: start from {example}")
    return config


def _apply(found: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    key, value = key.strip(), value.strip()
    # In YAML "0,1" and 0 would be numbers, and an empty value would be null.
    text = not value or key == f"{LOCAL}.devices"
    try:
        found[key] = value if text else parse_yaml(value)
    except ValueError:
        equals = ""
    if not equals:
        advice = "write SECTION.KEY=VALUE with a YAML value, like dag.use_profile=true"
        raise UserError("command-line", f"--opt {override}: {advice}")


def _flat(section: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of all sections with their dotted keys."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _problem(found: dict[str, Any]) -> str:
    """Return the first error in a configuration, or ""."""
    for key in found:
        if key not in _RULES:
            near = [rule for rule in _RULES if rule.endswith(f".{key}")]
            near = near or difflib.get_close_matches(key, _RULES, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "config.yml lists the keys"
            return f"unknown key '{key}': {hint}"
    for key, rule in _RULES.items():
        if key not in found:
            return f"'{key}' is missing"
        if not rule.allows(found[key]):
            return f"'{key}' is {found[key]!r}, expected {rule.wanted}"
    if found["http_port"] == found["rpc_port"]:
        return f"http_port and rpc_port are both {found['http_port']}"
    devices = found[f"{LOCAL}.devices"]
    if found[f"{LOCAL}.device_type"] == 0 and devices.strip():
        advice = "set device_type 1 for the GPU, or devices '' for the CPU"
        return f"device_type 0 is the CPU but devices names GPUs '{devices}': {advice}"
    return ""
