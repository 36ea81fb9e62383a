"""From manifest rows to micro-batches: manifest, audio, features, captions, plan, loader, quarantine."""
