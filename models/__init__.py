"""What the scorer and the trainer must agree on: window, features, network, bundle, runtimes.

Nothing here imports Kafka, Redis or pandas, and only :mod:`models.lstm` imports TensorFlow.
"""
