"""Ports for programs that bind them later."""

from __future__ import annotations

from stoker.local.control_plane import free_ports


def free_port() -> int:
    """One that nobody listens on, and that no connection gets meanwhile."""
    return free_ports(1)[0]
