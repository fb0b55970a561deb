"""The scorer as a user of Quix Streams would build it: one stateful function on each event.

Runs in the peers' environment. State is in the application's own RocksDB, with its changelog topic, so that a process
elsewhere can take over.
"""

import argparse
import time
from typing import Any

import numpy as np
import onnxruntime as ort
from quixstreams import Application, State

from benchmarks.peers.event_window import FEATURES, arrive, features, step_of
from models.bundle import ONNX, SPEC, starter
from models.spec import BundleSpec
from models.window import SEQUENCE_LENGTH
from stream.contract import timestamp


class Scorer:
    """The function, and the model that it needs."""

    def __init__(self) -> None:
        directory = starter("default")
        self._spec = BundleSpec.model_validate_json((directory / SPEC).read_bytes())
        if self._spec.features != FEATURES or self._spec.zone != "UTC" or self._spec.context:
            raise ValueError(f"{directory} reads other features than {', '.join(FEATURES)} in UTC: see event_window.py")
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(directory / ONNX, options, providers=["CPUExecutionProvider"])
        self._lengths = [np.array([length], np.int32) for length in range(SEQUENCE_LENGTH + 1)]

    def score(self, transaction: dict[str, Any], state: State) -> dict[str, Any]:
        """Return the transaction's score and keep it in its user's window."""
        window, kept = arrive(state.get_bytes("window", b""), step_of(transaction))
        state.set_bytes("window", kept)
        inputs = {"sequence": features(window), "lengths": self._lengths[len(window)]}
        (probabilities,) = self._session.run(["fraud_probability"], inputs)
        probability = round(float(probabilities[0]), 6)
        return {
            "transaction_id": transaction["transaction_id"],
            "user_id": transaction["user_id"],
            "created_at": transaction["created_at"],
            "fraud_probability": probability,
            "lstm_score": int(probability * 100),
            "sequence_anomaly": probability > self._spec.threshold,
            "insufficient_history": len(window) < SEQUENCE_LENGTH,
            "window_length": len(window),
            "profile_day": None,
            "model_version": self._spec.model_version,
            "scored_at": timestamp(time.time_ns() // 1_000_000),
        }


def main() -> None:
    """Score until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--state-dir", required=True)
    parser.add_argument("--commit-interval", type=float, required=True, help="seconds")
    arguments = parser.parse_args()
    app = Application(
        broker_address=arguments.bootstrap,
        consumer_group=arguments.group,
        auto_offset_reset="earliest",
        commit_interval=arguments.commit_interval,
        processing_guarantee="exactly-once",
        state_dir=arguments.state_dir,
        # an eighth less CPU an event than with its 5 ms; a commit flushes, so that no score waits for it
        producer_extra_config={"linger.ms": 100},
        loglevel="WARNING",
    )
    transactions = app.dataframe(app.topic(arguments.input))
    transactions.apply(Scorer().score, stateful=True).to_topic(app.topic(arguments.output))
    app.run()


if __name__ == "__main__":
    main()
