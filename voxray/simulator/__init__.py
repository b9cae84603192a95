"""The other side of the wire: a telephone caller for testing an agent without a telephone.

`voxray-dial` (`voxray.simulator.cli`) is the command; `voxray.simulator.caller.SimulatedCall` the part that
tests use with their own clock. Everything about the wire is read here a second time, straight from the
carrier's documentation: nothing is imported from `voxray.serializers`, `voxray.carriers` or
`voxray.audio.packets`, so two readings check each other.
"""
