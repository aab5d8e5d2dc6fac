"""The bytes of one token, by its spelling in the vocabulary: a token can be a part of a character."""

from __future__ import annotations

import re

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _alphabet() -> dict[str, int]:
    """GPT-2's: what is printable in Latin-1 stands for itself, the other bytes for characters from 256 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_ALPHABET = _alphabet()


def own_bytes(spelled: str | None, text: str) -> bytes:
    """`spelled`: the token in its vocabulary; `text`: what it decodes to alone, with U+FFFD for what is no
    whole character. SentencePiece spells single bytes <0xE2>, byte-level vocabularies all in GPT-2's letters.
    Where it is neither, the bytes are those of `text`.
    """
    if "\N{REPLACEMENT CHARACTER}" not in text or spelled is None:
        return text.encode()
    if match := _BYTE.fullmatch(spelled):
        own = bytes.fromhex(match[1])
    elif all(letter in _ALPHABET for letter in spelled):
        own = bytes(_ALPHABET[letter] for letter in spelled)
    else:
        return text.encode()
    return own if own.decode(errors="replace") == text else text.encode()
