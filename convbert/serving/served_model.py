"""Converts an exported directory to Paddle Serving's format, without paddle.fluid.

The two folders and their files are those of ``python -m paddle_serving_client.convert`` 0.9.0:
the model files plus a GeneralModelConfig as text and as binary. The tokenizer's files and the
model's configuration are added, so that the service needs nothing else. A model that was quantized
for OpenVINO is converted too, although Paddle Serving itself could not run it.
"""

import os
import shutil

import numpy as np
from google.protobuf import text_format

from convbert.inference.default_model import cached_product, default_export
from convbert.inference.engines import INPUTS, EngineOptions
from convbert.inference.engines.openvino import MODEL_FILES
from convbert.inference.engines.paddle_inference import Predictor, find_program
from convbert.inference.protobuf import Field, build_messages
from paddlenlp.transformers.checkpoint import CONFIG_FILE, read_json
from paddlenlp.transformers.convbert.configuration import ConvBertConfig
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import product_directories, verify

SERVER_CONFIG = "serving_server_conf.prototxt"
SERVER_KIND, CLIENT_KIND = "served model", "serving client"
CLIENT_CONFIG = "serving_client_conf.prototxt"
TOKENIZER_FILES = ("tokenizer_config.json", "vocab.txt")
_INT64, _FLOAT32 = 0, 1  # Paddle Serving's numbers of types (paddle_serving_client/io)


def _variable_fields(type_field: str) -> dict[str, Field]:
    return {
        "name": Field(1, "string"),
        "alias_name": Field(2, "string"),
        "is_lod_tensor": Field(3, "bool", default="false"),
        type_field: Field(4, "int32", default="0"),
        "shape": Field(5, "int32", True),
    }


# general_model_config.proto
GeneralModelConfig = build_messages(
    "baidu.paddle_serving.configure",
    "proto2",
    {
        "FeedVar": _variable_fields("feed_type"),
        "FetchVar": _variable_fields("fetch_type"),
        "GeneralModelConfig": {
            "feed_var": Field(1, "FeedVar", True),
            "fetch_var": Field(2, "FetchVar", True),
        },
    },
)["GeneralModelConfig"]


def model_config(output: str, classes: int):
    """Return the GeneralModelConfig message of a classifier; dynamic dimensions are left out."""
    config = GeneralModelConfig()
    for name in INPUTS:
        config.feed_var.add(name=name, alias_name=name, is_lod_tensor=False, feed_type=_INT64)
    config.fetch_var.add(
        name=output,
        alias_name=output,
        is_lod_tensor=False,
        fetch_type=_FLOAT32,
        shape=[classes],
    )
    return config


def default_served() -> str:
    """Return the directory of the bundled classifier as a served model; the first call makes it.

    Raises:
        UserError: as `default_model.default_export`.
    """
    exported, script = default_export(), "tools/export_serving_model.py"
    client = ["--serving_client", f"{exported}-client"]  # not used
    flags = ["--dirname", exported, *client, "--serving_server"]
    return cached_product("served", exported, script, *flags)


def convert(
    dirname: str,
    serving_server: str,
    serving_client: str,
    model_filename: str | None = None,
    params_filename: str | None = None,
):
    """Write the server's and the client's folder atomically, replacing old ones.

    Returns:
        The GeneralModelConfig message that was written.

    Raises:
        UserError: a file is missing, Paddle Inference cannot run the program, or a target folder
            contains other files.
    """
    program, params = _model_files(dirname, model_filename, params_filename)
    files = [program, params, *(os.path.join(dirname, name) for name in TOKENIZER_FILES)]
    missing = [os.path.basename(path) for path in files if not os.path.isfile(path)]
    if missing:
        names = ", ".join(missing)
        hint = "export it again, or correct --model_filename and --params_filename"
        raise UserError("export", f"'{dirname}' does not contain {names}: {hint}")
    verify(dirname)
    config_file = os.path.join(dirname, CONFIG_FILE)
    if program.endswith(".xml"):  # for OpenVINO
        described = ConvBertConfig.from_dict(read_json(config_file), config_file)
        config = model_config("logits", described.num_classes)
    else:
        engine = Predictor((program, params), EngineOptions())
        ids = np.ones((1, 3), dtype=np.int64)
        logits = engine.run(ids, np.zeros_like(ids))
        config = model_config(engine.output_name, logits.shape[1])
    if os.path.isfile(config_file):  # programs exported by other tools have none
        files.append(config_file)
    folders = [(serving_server, SERVER_KIND), (serving_client, CLIENT_KIND)]
    with product_directories(folders, [dirname]) as (server, client):
        for path in files:
            shutil.copyfile(path, server / os.path.basename(path))
        for path in (server / SERVER_CONFIG, client / CLIENT_CONFIG):
            path.write_text(text_format.MessageToString(config), encoding="utf-8")
            path.with_suffix(".stream.prototxt").write_bytes(config.SerializeToString())
    return config


def check_served(model_dir: str) -> None:
    """Raise `UserError` unless ``model_dir`` was written by tools/export_serving_model.py.

    Its files are compared with their checksums when a worker opens them.
    """
    if not os.path.isfile(os.path.join(model_dir, SERVER_CONFIG)):
        reason = f"'{model_dir}' does not contain {SERVER_CONFIG}: run shell/serving.sh convert"
        raise UserError("served-model", reason)


def _model_files(
    dirname: str, model_filename: str | None, params_filename: str | None
) -> tuple[str, str]:
    """Return the paths of program and weights; None means the usual name."""
    given = model_filename or params_filename
    if not given and os.path.isfile(os.path.join(dirname, MODEL_FILES[0][0])):
        model_filename, params_filename = MODEL_FILES[0]
    if not (model_filename and params_filename):
        program, params = find_program(dirname)
        model_filename = model_filename or os.path.basename(program)
        params_filename = params_filename or os.path.basename(params)
    return os.path.join(dirname, model_filename), os.path.join(dirname, params_filename)
