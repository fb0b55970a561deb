"""Read the network out of a Keras file, ``.keras`` or whole-model ``.h5``, without TensorFlow or Keras.

A Keras file is a layer graph in JSON and weights in HDF5; no code in it is ever run. Of all the graphs there are,
this reads those that :func:`models.lstm.build_lstm_model` makes and the plain ``Sequential`` of the project's origin
(no masking, no normalisation, no context). Anything else is refused by name.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from models.features import PADDING
from models.network import Dense, Floats32, Lstm, Network

_PASSED_OVER = {"Dropout"}  # layers that do nothing when scoring


@dataclass(frozen=True)
class _Layer:
    kind: str
    name: str
    config: dict[str, Any]
    inputs: tuple[str, ...]
    number: int  # among the layers of its kind beside it
    within: "_Layer | None" = None  # the Sequential that holds it, where that is itself a layer


Weights = Callable[[_Layer], list[npt.NDArray[np.generic]]]


def read_network(path: Path) -> Network:
    """Return the network in a ``.keras`` or ``.h5`` file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a Keras file, or one whose layers this cannot serve; it names the file and the layer.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                graph = json.loads(archive.read("config.json"))
                hdf5 = io.BytesIO(archive.read("model.weights.h5"))
            with h5py.File(hdf5) as file:
                return _Reader(path, graph, lambda layer: _keras_weights(file, layer)).network()
        with h5py.File(path) as file:
            graph = json.loads(file.attrs["model_config"])
            return _Reader(path, graph, lambda layer: _h5_weights(file, layer)).network()
    except FileNotFoundError:
        raise
    except (OSError, KeyError, json.JSONDecodeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"cannot serve {path}: not a whole Keras model ({error}); save it with model.save('….keras') or '….h5'"
        ) from error


def _keras_weights(file: h5py.File, layer: _Layer) -> list[npt.NDArray[np.generic]]:
    holder = file
    for part in (layer.within, layer) if layer.within else (layer,):
        holder = holder["layers"][part.kind.lower() + (f"_{part.number}" if part.number else "")]
    variables = holder["cell"]["vars"] if layer.kind == "LSTM" else holder["vars"]
    return [variables[key][()] for key in sorted(variables, key=int)]


def _h5_weights(file: h5py.File, layer: _Layer) -> list[npt.NDArray[np.generic]]:
    holder = file["model_weights"][layer.within.name if layer.within else layer.name]
    names = [name.decode() if isinstance(name, bytes) else name for name in holder.attrs["weight_names"]]
    return [holder[name][()] for name in names if not layer.within or layer.name in name.split("/")]


class _Reader:
    """Walks the graph from its output back to its inputs and checks every layer on the way."""

    def __init__(self, path: Path, graph: dict[str, Any], weights: Weights):
        self._path = path
        self._weights = weights
        self._layers = {layer.name: layer for layer in self._read_layers(graph)}
        self._unread = set(self._layers)

    def network(self) -> Network:
        output = self._expect(self._last(), "Dense", activation="sigmoid", units=1, use_bias=True)
        dense = self._expect(self._before(output), "Dense", activation="relu", use_bias=True)
        joined = self._before(dense)
        context_width, context_scale, context_offset, context_dense = 0, None, None, None
        if joined.kind == "Concatenate":
            self._expect(joined, "Concatenate", axis=-1)
            if len(joined.inputs) != 2:
                raise self._refusal(joined, "joins other than the window and one context")
            beside = self._pass_over(self._layers[joined.inputs[1]])
            if beside.kind == "Dense":
                self._expect(beside, "Dense", activation="relu", use_bias=True)
                context_dense = Dense(*self._arrays(beside, 2))
                beside = self._before(beside)
            normalised, context_scale, context_offset = self._rescaling(beside)
            (context_width,) = self._input(normalised, "[context]", 1)
            joined = self._layers[joined.inputs[0]]
        second = self._lstm(joined, return_sequences=False)
        first = self._lstm(self._before(second), return_sequences=True)
        masked, scale, offset = self._rescaling(self._before(first))
        if masked.kind == "Masking":
            masked = self._before(self._expect(masked, "Masking", mask_value=PADDING))
        sequence_length, n_features = self._input(masked, "[steps, features]", 2)
        if self._unread:
            raise self._refusal(self._layers[min(self._unread)], "has no place in it")
        return Network(
            sequence_length=sequence_length,
            n_features=n_features,
            context_width=context_width,
            scale=_widen(scale, n_features),
            offset=_widen(offset, n_features),
            context_scale=_widen(context_scale, context_width),
            context_offset=_widen(context_offset, context_width),
            context_dense=context_dense,
            lstm_1=Lstm(*self._arrays(first, 3)),
            lstm_2=Lstm(*self._arrays(second, 3)),
            dense=Dense(*self._arrays(dense, 2)),
            output=Dense(*self._arrays(output, 2)),
        )

    def _read_layers(
        self, graph: dict[str, Any], previous: tuple[str, ...] = (), within: _Layer | None = None
    ) -> Iterator[_Layer]:
        """Yield the layers of a graph, those of a Sequential inside it in that one's place."""
        if graph["class_name"] not in ("Functional", "Sequential"):
            raise ValueError(f"cannot serve {self._path}: it holds a {graph['class_name']}, not a model of layers")
        numbers: dict[str, int] = {}
        stands_for: dict[str, tuple[str, ...]] = {}  # a Sequential's name -> its last layer
        for entry in graph["config"]["layers"]:
            kind, config = entry["class_name"], entry["config"]
            shape = config.get("batch_input_shape")  # Keras 2 has no input layer in a Sequential
            if shape and kind != "InputLayer":
                yield _Layer("InputLayer", "input", {"batch_shape": shape}, (), 0)
                previous = ("input",)
            if graph["class_name"] == "Functional":
                previous = tuple(n for name in _inputs(entry["inbound_nodes"]) for n in stands_for.get(name, (name,)))
            layer = _Layer(kind, config["name"], config, previous, numbers.get(kind, 0), within)
            numbers[kind] = layer.number + 1
            if kind == "Sequential" and not within:
                for inner in self._read_layers(entry, previous, layer):
                    previous = (inner.name,)
                    yield inner
                stands_for[layer.name] = previous
            elif entry.get("module", "keras.layers") != "keras.layers":
                raise self._refusal(layer, f"is a layer of {entry['module']}, not of Keras")
            elif not (within and kind == "InputLayer"):
                previous = (layer.name,)
                yield layer

    def _last(self) -> _Layer:
        read = {name for layer in self._layers.values() for name in layer.inputs}
        last = [layer for layer in self._layers.values() if layer.name not in read]
        if len(last) != 1:
            raise ValueError(f"cannot serve {self._path}: it has {len(last)} outputs, not one probability")
        return last[0]

    def _before(self, layer: _Layer) -> _Layer:
        if len(layer.inputs) != 1:
            raise self._refusal(layer, f"reads {len(layer.inputs)} layers, not one")
        return self._pass_over(self._layers[layer.inputs[0]])

    def _pass_over(self, layer: _Layer) -> _Layer:
        """Return the layer that does something when scoring: this one, or the next one before it."""
        if layer.kind not in _PASSED_OVER:
            return layer
        self._unread.discard(layer.name)
        return self._before(layer)

    def _expect(self, layer: _Layer, kind: str, **settings: object) -> _Layer:
        if layer.kind != kind:
            raise self._refusal(layer, f"stands where a {kind} belongs")
        for setting, value in settings.items():
            if layer.config.get(setting, value) != value:
                raise self._refusal(layer, f"has {setting} {layer.config[setting]!r}, not {value!r}")
        self._unread.discard(layer.name)
        return layer

    def _lstm(self, layer: _Layer, *, return_sequences: bool) -> _Layer:
        return self._expect(
            self._pass_over(layer),
            "LSTM",
            activation="tanh",
            recurrent_activation="sigmoid",
            use_bias=True,
            go_backwards=False,
            time_major=False,
            return_sequences=return_sequences,
        )

    def _rescaling(self, layer: _Layer) -> tuple[_Layer, object, object]:
        """Return the layer before the normalisation, its scale and its offset; ``layer`` itself where it is none."""
        if layer.kind != "Rescaling":
            return layer, None, None
        self._unread.discard(layer.name)
        return self._before(layer), layer.config["scale"], layer.config["offset"]

    def _input(self, layer: _Layer, meaning: str, dimensions: int) -> list[int]:
        self._expect(layer, "InputLayer")
        shape = list(layer.config.get("batch_shape") or layer.config["batch_input_shape"])[1:]
        if len(shape) != dimensions or None in shape:
            raise self._refusal(layer, f"has shape {shape}, not {meaning}")
        return shape

    def _arrays(self, layer: _Layer, count: int) -> list[Floats32]:
        arrays = [array.astype(np.float32) for array in self._weights(layer)]
        if len(arrays) != count:
            raise self._refusal(layer, f"has {len(arrays)} weights, not {count}")
        return arrays

    def _refusal(self, layer: _Layer, what: str) -> ValueError:
        return ValueError(
            f"cannot serve {self._path}: layer {layer.name!r} ({layer.kind}) {what}; "
            "build it with models.lstm.build_lstm_model, or as a plain LSTM, Dropout, LSTM, Dropout, Dense, Dense"
        )


def _inputs(nodes: object) -> tuple[str, ...]:
    """Return the names of the layers whose output a node of a functional graph takes."""
    if isinstance(nodes, dict):
        if nodes.get("class_name") == "__keras_tensor__":
            return (nodes["config"]["keras_history"][0],)
        return _inputs(nodes.get("args", []))
    if isinstance(nodes, list):
        return tuple(name for node in nodes for name in _inputs(node))
    return ()


def _widen(numbers: object, width: int) -> Floats32 | None:
    return None if numbers is None else np.broadcast_to(np.asarray(numbers, np.float32), (width,)).copy()
