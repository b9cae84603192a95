"""Voxray: a telephony daemon that answers phone calls with an agent."""

__version__ = "0.1.0"
