"""The trained network as a function of arrays, for programs that have their own features."""

from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.bundle import load_bundle
from models.network import Network
from models.runtime import OnnxRuntime, Runtime

Floats32 = npt.NDArray[np.float32]


class LSTMPredictor:
    """Probabilities from a bundle, an ``.onnx``, or a Keras ``.h5`` or ``.keras``; TensorFlow is not needed.

    Several threads may share one.
    """

    def __init__(self, model_path: str | PathLike[str]):
        """Load the model.

        Raises:
            FileNotFoundError: nothing at ``model_path``.
            ValueError: a file that is none of the kinds above, or that cannot be served.
            BundleError: a directory that does not verify as a bundle.
        """
        path = Path(model_path)
        self._runtime: Runtime
        self._sequence_length: int | None = None  # an ONNX file alone does not say
        if path.is_dir():
            loaded = load_bundle(path)
            self._runtime, self._sequence_length = loaded.runtime, loaded.spec.sequence_length
        elif path.suffix in (".h5", ".keras"):
            network, self._runtime = open_keras_file(path)
            self._sequence_length = network.sequence_length
        elif path.suffix == ".onnx":
            self._runtime = OnnxRuntime(path)
        elif path.exists():
            raise ValueError(f"{path} is not a model: give a bundle's directory, or a .onnx, .h5 or .keras file")
        else:
            raise FileNotFoundError(f"no model at {path}: give a bundle's directory, or a .onnx, .h5 or .keras file")

    def predict(
        self,
        features: npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        context: npt.ArrayLike | None = None,
    ) -> Floats32:
        """Return the fraud probabilities of windows, ``float32 [n]``.

        Args:
            features: ``float32 [n, T, F]``, oldest step first; steps behind a window's length may hold anything.
            lengths: ``int [n]``, steps of each window, 1 to T; without it all windows are full.
            context: ``float32 [n, C]`` for a model trained with one.

        Raises:
            ValueError: another shape than the model's, or a length outside 1 to T.
        """
        sequence = np.asarray(features, np.float32)
        steps = self._sequence_length
        if sequence.ndim != 3 or (steps is not None and sequence.shape[1] != steps):
            raise ValueError(
                f"features have shape {sequence.shape}; the model needs (windows, {steps or 'steps'}, features)"
            )
        n = len(sequence)
        given = np.full(n, sequence.shape[1]) if lengths is None else np.asarray(lengths)
        if given.shape != (n,) or (n and not np.issubdtype(given.dtype, np.integer)):
            raise ValueError(f"lengths are {given.dtype} {given.shape}; {n} windows need integers of shape ({n},)")
        return self._runtime.predict(sequence, given, None if context is None else np.asarray(context, np.float32))


def open_keras_file(path: Path) -> tuple[Network, OnnxRuntime]:
    """Return the network in a ``.h5`` or ``.keras`` file, and the same ready to compute.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be served.
    """
    # a bundle brings its graph ready made: who loads one does not wait for these
    from models.keras_file import read_network  # noqa: PLC0415
    from models.onnx_export import to_onnx  # noqa: PLC0415

    network = read_network(path)
    return network, OnnxRuntime(to_onnx(network).SerializeToString())
