"""One telephone call: its life, its floor, its pipeline. A clock, no sockets."""
