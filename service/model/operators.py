"""Check the operators of an ONNX file, and refuse everything that reaches outside of plain operators.

In: the bytes of `model.onnx`. Out: nothing, or one `ModelError` that names what does not belong in an MLP. It knows
ONNX's wire format, and runs nothing. A file of many small parts takes a second, so the check process does this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The operators of an exported MLP, quantised or not. A model with any other is refused before it runs.
ALLOWED_OPS = frozenset(
    "Add Cast Clip Concat Constant DequantizeLinear Div DynamicQuantizeLinear Erf Flatten Floor GatherElements Gelu "
    "Gemm LeakyRelu MatMul MatMulInteger Max Mul QGemm QLinearMatMul QuantizeLinear ReduceMean ReduceSum Relu Reshape "
    "Sigmoid Slice Softmax Split Squeeze Sub Tanh Unsqueeze".split()
)
MAX_FIELDS = 100_000  # an exported MLP has hundreds: each weight tensor is one field
MAX_TAG = 2**32  # protobuf drops higher bits, and would see another field than this code


def check(name: str, model: bytes) -> None:
    """Check all operators of a model; raises `ModelError`, which names the file."""
    try:
        for found in Walk().operators(memoryview(model), MODEL):
            if found not in ALLOWED_OPS:
                raise ModelError(f"{name}: expected only operators of an MLP, found {found[:80]!r}")
    except (IndexError, ValueError) as error:
        raise ModelError(f"{name}: expected an ONNX model, found {error}") from None


class Message(NamedTuple):
    """A message of onnx.proto (IR version 13): its fields by number."""

    name: str
    # A message is walked; `str` is an operator's name. A text names something that reaches outside of plain operators:
    # unless the field is empty or 0, the text is yielded like an operator, and so refused.
    fields: Mapping[int, Message | type[str] | str]
    # Numbers, names and texts, which hold no operator and no tensor.
    harmless: frozenset[int]


_TENSOR = Message(
    "TensorProto",
    {13: "external data", 14: "external data"},
    # dims, data_type, segment, the numbers themselves (4 to 7, 9 to 11), name, doc_string, metadata_props
    frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16}),
)
_SPARSE = Message("SparseTensorProto", {1: _TENSOR, 2: _TENSOR}, frozenset({3}))  # dims
_ATTRIBUTE = Message(
    "AttributeProto",
    {5: _TENSOR, 6: "subgraph", 10: _TENSOR, 11: "subgraph", 22: _SPARSE, 23: _SPARSE},
    # name, f, i, s, floats, ints, strings, doc_string, tp and type_protos (types hold no numbers), type, ref_attr_name
    frozenset({1, 2, 3, 4, 7, 8, 9, 13, 14, 15, 20, 21}),
)
_NODE = Message(
    "NodeProto",
    {4: str, 5: _ATTRIBUTE, 7: "operator domain"},
    # input, output, name, doc_string, overload (of local functions, of which there are none), metadata_props,
    # device_configurations (how tensors are shared out over devices)
    frozenset({1, 2, 3, 6, 8, 9, 10}),
)
_GRAPH = Message(
    "GraphProto",
    {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    # name, doc_string, input, output and value_info (names and types), quantization_annotation (names), metadata_props
    frozenset({2, 10, 11, 12, 13, 14, 16}),
)
MODEL = Message(
    "ModelProto",
    {7: _GRAPH, 20: "training info", 25: "local function"},
    # ir_version, producer_name and _version, domain, model_version, doc_string, opset_import, metadata_props,
    # configuration (names of devices)
    frozenset({1, 2, 3, 4, 5, 6, 8, 14, 26}),
)


class Walk:
    """One walk through a model; raises `ValueError` at too many fields."""

    def __init__(self) -> None:
        self._left = MAX_FIELDS

    def operators(self, message: memoryview, schema: Message) -> Iterator[str]:
        """Yield the operators below a protobuf message, depth first (protobuf.dev/programming-guides/encoding)."""
        position = 0
        while position < len(message):
            number, value, position = self._field(message, position)
            match schema.fields.get(number):
                case Message() as inner if isinstance(value, memoryview):
                    yield from self.operators(value, inner)
                case str() as forbidden if value if isinstance(value, int) else len(value):
                    yield forbidden
                case type() if isinstance(value, memoryview):
                    yield bytes(value).decode()
                case None if number not in schema.harmless and schema is not MODEL:
                    yield f"field {number} of {schema.name}"  # the runtime ignores unknown ones of the model itself

    def _field(self, message: memoryview, position: int) -> tuple[int, int | memoryview, int]:
        """Return a field's number, its value, and the position of the next field."""
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"more than {MAX_FIELDS:,} fields")
        key, position = _varint(message, position)
        if key >= MAX_TAG:
            raise ValueError("a field's number of more than 32 bits")
        wire = key & 7
        value: int | memoryview
        if wire == 0:
            value, position = _varint(message, position)
        elif wire in (1, 2, 5):
            size = 8 if wire == 1 else 4
            if wire == 2:
                size, position = _varint(message, position)
            value, position = message[position : position + size], position + size
        else:
            raise ValueError(f"wire type {wire}")
        if position > len(message):
            raise ValueError("a message that ends early")
        return key >> 3, value, position


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than ten bytes")
