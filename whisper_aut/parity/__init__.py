"""Parity: an export loaded by the programs it is made for, each by its own loading call, compared by value."""
