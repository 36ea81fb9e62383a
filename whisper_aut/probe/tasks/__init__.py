"""Probing tasks, one benchmark a file; each lists its clips with labels, folds and groups."""
