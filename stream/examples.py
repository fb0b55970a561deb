"""Messages as the schemas show them: two payments of one user, what became of them, and one that is none."""

from typing import Any

TRANSACTIONS: list[dict[str, Any]] = [
    {
        "transaction_id": "t-2",
        "user_id": "anna",
        "amount": 250.0,
        "created_at": "2026-03-02T02:40:00+01:00",
        "is_vpn": True,
        "merchant_id": "m-17",
    },
    {"transaction_id": "t-1", "user_id": "anna", "amount": 12.5, "created_at": "2026-03-01T18:21:07Z"},
]

SCORES: list[dict[str, Any]] = [
    {
        "transaction_id": "t-2",
        "user_id": "anna",
        "created_at": "2026-03-02T02:40:00+01:00",
        "fraud_probability": 0.913207,
        "lstm_score": 91,
        "sequence_anomaly": True,
        "insufficient_history": True,
        "window_length": 2,
        "profile_day": "2026-03-02",
        "model_version": "v7",
        "scored_at": "2026-03-02T01:40:00.009Z",
        "reasons": [
            {
                "name": "amount",
                "sentence": "amount 250.00; usual 12.50",
                "effect": 0.4137,
            }
        ],
    },
    {
        "transaction_id": "t-1",
        "user_id": "anna",
        "created_at": "2026-03-01T18:21:07Z",
        "fraud_probability": 0.001543,
        "lstm_score": 0,
        "sequence_anomaly": False,
        "insufficient_history": True,
        "window_length": 1,
        "profile_day": None,
        "model_version": "v7",
        "scored_at": "2026-03-01T18:21:07.814Z",
    },
]

SCORE_HEADERS: list[dict[str, Any]] = [
    {"source-topic": "transactions", "source-partition": "2", "source-offset": "1204"}
]

LABELS: list[dict[str, Any]] = [
    {"transaction_id": "t-2", "user_id": "anna", "is_fraud": True, "labelled_at": "2026-03-06T09:12:00Z"}
]

DEAD_LETTER_HEADERS: list[dict[str, Any]] = [
    {
        "error": "amount: input should be greater than or equal to 0",
        "reason": "invalid",
        "topic": "transactions",
        "partition": "2",
        "offset": "1205",
        "timestamp": "1772415600123",
    }
]
