"""Randomness that is the same on every run: keys from a counter."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec


class CountedRandomness:
    def __init__(self, start: int = 1) -> None:
        self._count = start

    def key(self) -> ec.EllipticCurvePrivateKey:
        self._count += 1
        return ec.derive_private_key(self._count * 7919, ec.SECP256R1())

    def serial(self) -> int:
        self._count += 1
        return self._count
