"""The other side of the wire: a caller, for users, tests and load. Reads the wire for itself."""
