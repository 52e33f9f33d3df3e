"""Quantile networks: batches, encoders, decoders, heads, one training loop, checkpoints. The only home of torch."""
