"""Tells twistd of `voxray`. Imports nothing of it: every twistd on the machine reads this file."""

from twisted.application.service import ServiceMaker

voxray = ServiceMaker(
    "voxray", "voxray.tap", "A telephone agent: carriers, speech, language and voice models", "voxray"
)
