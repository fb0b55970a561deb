"""The scorer: transactions in, scores out, windows kept in Redis, exactly once."""
