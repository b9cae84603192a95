"""Builds the daemon from its settings."""

from __future__ import annotations

from twisted.application.service import IService

from voxray.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    raise NotImplementedError("the daemon is not put together yet")
