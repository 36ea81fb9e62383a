"""Whether audio of an evaluation set stands in training manifests: found by listening, not by name."""
