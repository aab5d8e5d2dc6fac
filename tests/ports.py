"""Ports for programs that tests start."""

from __future__ import annotations

from stoker.local.control_plane import free_ports

_given: set[int] = set()


def free_port() -> int:
    """One that nobody listens on, that no connection gets meanwhile, and that this run was not given before:
    of several that are asked for one after the other none listens yet.
    """
    while (port := free_ports(1)[0]) in _given:
        pass
    _given.add(port)
    return port
