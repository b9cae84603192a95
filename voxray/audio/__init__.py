"""Pure audio: codecs, resampling, packets, tones. Nothing here knows a clock or a socket."""
