"""From archived events to a model: simulator, data set, training job."""
