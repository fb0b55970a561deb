"""The serving graph, built by hand from the trained weights.

Not through a converter: those make a loop of Keras' masking, ten times slower than ONNX's own LSTM operator. Nor with
that operator's ``sequence_lens``: OpenVINO (2026.4, on the CPU, T dynamic) takes the input and ignores it, wrong by up
to 0.1. An LSTM never looks ahead, so with padding on the right the state at a window's last step is the same whatever
follows: the graph takes that step of the second LSTM, and every engine agrees.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.network import Dense, Floats32, Lstm, Network

OPSET = 17  # LSTM-14 and nothing newer, so that old runtimes read it too
IR_VERSION = 8


def to_onnx(network: Network) -> onnx.ModelProto:
    """Return the network as a checked ONNX model.

    Inputs: ``sequence`` ``float32 [N, T, F]``, right-padded with anything; ``lengths`` ``int32 [N]``, 1 to T;
    ``context`` ``float32 [N, C]`` if the network has one. T may be cut to the longest window of a batch.
    Output: ``fraud_probability`` ``float32 [N]``.
    """
    graph = _Graph()
    steps = graph.normalise("sequence", network.scale, network.offset)
    steps = graph.add("Transpose", [steps], perm=[1, 0, 2])  # to ONNX's [T, N, F]
    steps = graph.lstm("lstm_1", network.lstm_1, steps)
    steps = graph.lstm("lstm_2", network.lstm_2, steps)
    steps = graph.add("Transpose", [steps], perm=[1, 0, 2])
    joined = graph.last("lengths", steps)

    inputs = [
        helper.make_tensor_value_info("sequence", TensorProto.FLOAT, ["N", "T", network.n_features]),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, ["N"]),
    ]
    if network.context_width:
        inputs.append(helper.make_tensor_value_info("context", TensorProto.FLOAT, ["N", network.context_width]))
        context = graph.normalise("context", network.context_scale, network.context_offset)
        if network.context_dense is not None:
            context = graph.add("Relu", [graph.dense("context_dense", network.context_dense, context)])
        joined = graph.add("Concat", [joined, context], axis=1)
    hidden = graph.add("Relu", [graph.dense("dense", network.dense, joined)])
    probability = graph.add("Sigmoid", [graph.dense("output", network.output, hidden)])  # [N, 1]
    graph.add("Squeeze", [probability, graph.constant("only_column", np.array([1]))], outputs=["fraud_probability"])

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "lstm_fraud_model",
            inputs,
            [helper.make_tensor_value_info("fraud_probability", TensorProto.FLOAT, ["N"])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="tenfold",
    )
    helper.set_model_props(model, {"sequence_length": str(network.sequence_length)})
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes and constants of a graph under construction; every method returns the names of what it added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, inputs: list[str], outputs: list[str] | None = None, **attributes: object) -> str:
        name = f"{operator.lower()}_{len(self.nodes)}"
        outputs = outputs or [name]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def normalise(self, name: str, scale: Floats32 | None, offset: Floats32 | None) -> str:
        if scale is None or offset is None:
            return name
        scaled = self.add("Mul", [name, self.constant(f"{name}_scale", scale)])
        return self.add("Add", [scaled, self.constant(f"{name}_offset", offset)])

    def dense(self, name: str, layer: Dense, inputs: str) -> str:
        kernel = self.constant(f"{name}_kernel", layer.kernel)
        return self.add("Gemm", [inputs, kernel, self.constant(f"{name}_bias", layer.bias)])

    def lstm(self, name: str, layer: Lstm, steps: str) -> str:
        """Turn ``[T, N, inputs]`` into the hidden states ``[T, N, units]``."""
        bias = _onnx_gates(layer.bias[None])[..., 0]
        constants = [
            self.constant(f"{name}_kernel", _onnx_gates(layer.kernel)),
            self.constant(f"{name}_recurrent_kernel", _onnx_gates(layer.recurrent_kernel)),
            # ONNX has a second bias, for the recurrence
            self.constant(f"{name}_bias", np.concatenate([bias, np.zeros_like(bias)], axis=1)),
        ]
        states = self.add("LSTM", [steps, *constants], hidden_size=len(layer.recurrent_kernel))  # [T, 1, N, units]
        return self.add("Squeeze", [states, self.constant(f"{name}_direction", np.array([1]))])

    def last(self, lengths: str, steps: str) -> str:
        """Take from ``[N, T, units]`` the step that each window ends with, ``[N, units]``."""
        index = self.add("Sub", [lengths, self.constant("one", np.array(1, np.int32))])
        index = self.add("Cast", [index], to=TensorProto.INT64)
        index = self.add("Unsqueeze", [index, self.constant("index_axis", np.array([1]))])
        return self.add("GatherND", [steps, index], batch_dims=1)


def _onnx_gates(kernel: Floats32) -> Floats32:
    """Turn ``[inputs, 4 * units]``, gates i, f, c, o, into ONNX's ``[1, 4 * units, inputs]``, gates i, o, f, c."""
    i, f, c, o = np.split(kernel, 4, axis=1)
    return np.concatenate([i, o, f, c], axis=1).T[None]
