"""What an adapted model keeps of Whisper's speech: word errors and captions, beside the model it came from."""
