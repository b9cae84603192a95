"""What outlives a request or is shared by instances: sessions, spent tokens, announced and live calls."""
