"""The training side: simulated and archived events in, a model bundle out."""
