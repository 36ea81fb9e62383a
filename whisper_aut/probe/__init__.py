"""Linear probes of exported encoders: embed, split, fit, compare. Knows nothing of training."""
