"""What others would build: the same scores on the same topic, by Quix Streams and by a plain per-event consumer."""
