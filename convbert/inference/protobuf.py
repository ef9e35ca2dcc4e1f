"""Protobuf messages from tables of their fields.

For messages of Paddle and of Paddle Serving. Their generated modules would import all of Paddle, or
most of a server and an old protobuf; the format needs only the field numbers.
"""

from typing import NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PROTO = descriptor_pb2.FieldDescriptorProto


class Field(NamedTuple):
    """One field: ``type`` is a protobuf scalar or a message of the same package."""

    number: int
    type: str
    repeated: bool = False
    default: str = ""  # proto2 only


def build_messages(
    package: str, syntax: str, tables: dict[str, dict[str, Field]]
) -> dict[str, type]:
    """Return message classes by name, in a separate pool.

    Args:
        package: the protobuf package.
        syntax: "proto2" or "proto3".
        tables: message name to field name to `Field`.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax=syntax
    )
    for message_name, fields in tables.items():
        message = file.message_type.add(name=message_name)
        for name, field in fields.items():
            label = _PROTO.LABEL_REPEATED if field.repeated else _PROTO.LABEL_OPTIONAL
            entry = message.field.add(name=name, number=field.number, label=label)
            if field.type in tables:
                entry.type, entry.type_name = _PROTO.TYPE_MESSAGE, f".{package}.{field.type}"
            else:
                entry.type = _PROTO.Type.Value(f"TYPE_{field.type.upper()}")
            if field.default:
                entry.default_value = field.default
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found = {name: pool.FindMessageTypeByName(f"{package}.{name}") for name in tables}
    return {name: message_factory.GetMessageClass(found[name]) for name in tables}
