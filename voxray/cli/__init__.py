"""The command `voxray`: what an administrator types beside `twistd voxray`. A composition root, like the tap.

Answers at once: each command imports what it needs, and only those that ask somebody load a reactor.
"""
