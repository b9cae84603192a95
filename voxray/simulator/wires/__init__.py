"""Each carrier's side of the media stream, message by message: one module a carrier, read from its own
documentation; `vocabulary` is what they share.
"""
