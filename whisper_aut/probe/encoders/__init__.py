"""Encoders that can be probed, behind one small interface: Whisper, its floors, and Hugging Face's other towers."""
