"""Training: engine, loop, checkpoints, validation. Only whisper_aut.train.engine imports DeepSpeed."""
