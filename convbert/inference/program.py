"""Inputs, outputs and sizes of an exported program, read from its file without running it."""

import json
from dataclasses import dataclass
from functools import cache

from paddlenlp.utils.errors import UserError

# The number of a type in framework.proto, and its name in NumPy.
DTYPES = {
    0: "bool",
    1: "int16",
    2: "int32",
    3: "int64",
    4: "float16",
    5: "float32",
    6: "float64",
    20: "uint8",
    21: "int8",
    22: "bfloat16",
}
# The same names in a json program: t_f32, t_i64, t_ui8 and so on.
_PIR_DTYPES = {
    "t_" + name.replace("float", "f").replace("int", "i"): name for name in DTYPES.values()
}


@dataclass(frozen=True)
class Variable:
    """An input or output; a dynamic dimension is -1, ``dtype`` a NumPy name."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    lod_level: int = 0


@dataclass(frozen=True)
class ProgramInfo:
    """Inputs and outputs of a program, and the rows of the table that ``input_ids`` indexes."""

    feeds: list[Variable]
    fetches: list[Variable]
    vocab_size: int | None = None


def read_program(path: str) -> ProgramInfo:
    """Read a program file of Paddle 2.x (.pdmodel, protobuf) or 3.x (.json).

    Raises:
        UserError: the file is not a program.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        info = _read_json(data) if path.endswith(".json") else _read_protobuf(data)
    except Exception as error:  # protobuf and json raise several types for a damaged file
        raise UserError(
            "file-damaged", f"{path} is not a Paddle program ({error}): export the model again"
        ) from None
    if not info.feeds or not info.fetches:
        raise UserError("export", f"{path} has no inputs or no outputs: export the model again")
    return info


@cache
def _messages() -> dict[str, type]:
    """Make message classes with the fields of framework.proto that are read here.

    Enumerations are integers. Made at first use, because importing protobuf is slow.
    """
    from convbert.inference.protobuf import Field, build_messages

    return build_messages(
        "paddle.framework.proto",
        "proto2",
        {
            "ProgramDesc": {"blocks": Field(1, "BlockDesc", True)},
            "BlockDesc": {"vars": Field(3, "VarDesc", True), "ops": Field(4, "OpDesc", True)},
            "VarDesc": {"name": Field(1, "string"), "type": Field(2, "VarType")},
            "VarType": {"lod_tensor": Field(3, "LoDTensorDesc")},
            "LoDTensorDesc": {"tensor": Field(1, "TensorDesc"), "lod_level": Field(2, "int32")},
            "TensorDesc": {"data_type": Field(1, "int32"), "dims": Field(2, "int64", True)},
            "OpDesc": {
                "inputs": Field(1, "Slot", True),
                "outputs": Field(2, "Slot", True),
                "type": Field(3, "string"),
                "attrs": Field(4, "Attr", True),
            },
            "Slot": {"parameter": Field(1, "string"), "arguments": Field(2, "string", True)},
            "Attr": {"name": Field(1, "string"), "i": Field(3, "int32")},
        },
    )


def _read_protobuf(data: bytes) -> ProgramInfo:
    block = _messages()["ProgramDesc"].FromString(data).blocks[0]
    variables = {variable.name: _proto_variable(variable) for variable in block.vars}
    feeds: dict[int, Variable] = {}
    fetches: dict[int, Variable] = {}
    vocab_size = None
    for op in block.ops:
        slots = {slot.parameter: slot.arguments for slot in [*op.inputs, *op.outputs]}
        column = next((attr.i for attr in op.attrs if attr.name == "col"), None)
        if op.type == "feed":
            feeds[column] = variables[slots["Out"][0]]
        elif op.type == "fetch":
            fetches[column] = variables[slots["X"][0]]
        elif op.type == "lookup_table_v2" and slots["Ids"][0] == "input_ids":
            vocab_size = variables[slots["W"][0]].shape[0]
    return ProgramInfo(_in_order(feeds), _in_order(fetches), vocab_size)


def _proto_variable(variable) -> Variable:
    lod_tensor = variable.type.lod_tensor
    dtype = DTYPES.get(lod_tensor.tensor.data_type, "")
    return Variable(variable.name, dtype, tuple(lod_tensor.tensor.dims), lod_tensor.lod_level)


def _read_json(data: bytes) -> ProgramInfo:
    ops = json.loads(data)["program"]["regions"][0]["blocks"][0]["ops"]
    feeds, fetches, shapes, ids = [], {}, {}, None
    vocab_size = None
    for op in ops:
        # A parameter is {"#": "p", "O": {...}}; every other op lists its results.
        results = op["O"] if isinstance(op["O"], list) else [op["O"]]
        for result in results:
            shapes[result["%"]] = _pir_type(result)
        kind = op["#"].split(".")[-1]
        if kind in ("data", "fetch"):
            attributes = {attribute["N"]: attribute["AT"]["D"] for attribute in op["A"]}
            variable = Variable(attributes["name"], *_pir_type(results[0]))
        if kind == "data":
            feeds.append(variable)
            ids = results[0]["%"] if variable.name == "input_ids" else ids
        elif kind == "fetch":
            fetches[attributes["col"]] = variable
        elif kind == "embedding" and op["I"][0]["%"] == ids:
            vocab_size = shapes[op["I"][1]["%"]][1][0]
    return ProgramInfo(feeds, _in_order(fetches), vocab_size)


def _pir_type(result: dict) -> tuple[str, tuple[int, ...]]:
    kind = result["TT"]
    if not kind["#"].endswith("t_dtensor"):
        return "", ()
    element, dims = kind["D"][0], kind["D"][1]
    return _PIR_DTYPES.get(element["#"].split(".")[-1], ""), tuple(dims)


def _in_order(columns: dict[int, Variable]) -> list[Variable]:
    return [columns[column] for column in sorted(columns)]
