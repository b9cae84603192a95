"""Several processes on one port: a parent that runs no calls, and workers that are daemons, each whole."""
