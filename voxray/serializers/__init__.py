"""Pure: one carrier's messages to frames and back."""
