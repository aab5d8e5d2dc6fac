"""How Kubernetes writes names, labels and paths. Each yields the problem of a value, if it has one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from stoker.serving import quantities
from stoker.serving.admission.places import Place
from stoker.serving.problems import FieldProblem, invalid
from stoker.serving.rendering.placeholders import references

Found = Iterator[FieldProblem]
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_WORD = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_ENV = re.compile(r"[ -<>-~]+")  # printable ASCII but "="
_KEY = re.compile(r"[-._a-zA-Z0-9]+")


def filled_in_later(value: str) -> bool:
    """Whether a runtime's placeholder stands in the value, so that nothing can be said of it yet."""
    return "{{" in value and bool(references(value))


def dns_label(value: str, path: str) -> Found:
    """A part of a host name: names of containers and volumes."""
    if (len(value) > 63 or not _LABEL.fullmatch(value)) and not filled_in_later(value):
        detail = "must be lower case letters, digits and '-', begin and end with a letter or digit"
        yield invalid(path, value, f"{detail}, and have at most 63 characters")


def dns_name(value: str, path: str) -> Found:
    """Labels with dots between them: names of most objects."""
    if (len(value) > 253 or not _NAME.fullmatch(value)) and not filled_in_later(value):
        detail = "must be lower case letters, digits, '-' and '.', begin and end with a letter or digit"
        yield invalid(path, value, f"{detail}, and have at most 253 characters")


def qualified_name(value: str, path: str) -> Found:
    """Keys of labels and annotations: an optional host name and `/`, then a word of at most 63 characters."""
    prefix, slash, word = value.rpartition("/")
    good = len(word) <= 63 and _WORD.fullmatch(word)
    if slash and not (len(prefix) <= 253 and _NAME.fullmatch(prefix)):
        good = None
    if not good and not filled_in_later(value):
        detail = (
            "must be a name of letters, digits, '-', '_' and '.', with an optional domain and '/' before it"
        )
        yield invalid(path, value, detail)


def label_value(value: Any, path: str, *, filled: bool = False) -> Found:
    """Values of labels: a word of at most 63 characters, or nothing. `filled`: no placeholders are left."""
    if not filled and isinstance(value, str) and filled_in_later(value):
        return
    if not isinstance(value, str) or (value and not (len(value) <= 63 and _WORD.fullmatch(value))):
        yield invalid(path, value, "must be at most 63 letters, digits, '-', '_' and '.', or empty")


def port_name(value: str, path: str) -> Found:
    """Names of ports, which Services and probes refer to."""
    letter = any(character.isalpha() for character in value[:15])
    if (
        len(value) > 15 or not _PORT_NAME.fullmatch(value) or not letter or "--" in value
    ) and not filled_in_later(value):
        detail = "must be at most 15 lower case letters, digits and single '-', with at least one letter"
        yield invalid(path, value, detail)


def port_number(value: int, path: str) -> Found:
    """TCP and UDP ports."""
    if not 1 <= value <= 65535:
        yield invalid(path, value, "must be a port from 1 to 65535")


def env_name(value: str, path: str) -> Found:
    """Names of environment variables."""
    if not _ENV.fullmatch(value) and not filled_in_later(value):
        yield invalid(path, value, "must be printable ASCII without '='")


def data_key(value: str, path: str) -> Found:
    """Keys of Secrets and ConfigMaps."""
    if (len(value) > 253 or not _KEY.fullmatch(value)) and not filled_in_later(value):
        yield invalid(path, value, "must be a key: letters, digits, '-', '_' and '.'")


def no_parents(value: str, path: str) -> Found:
    """Paths that stay below where they begin."""
    if ".." in value.split("/"):
        yield invalid(path, value, "must not contain '..'")


def at_least(obj: Mapping[str, Any], name: str, low: int, at: Place) -> Found:
    """A number that has a least value."""
    value = obj.get(name)
    if isinstance(value, int) and value < low:
        yield invalid(at.field(name).path, value, f"must be at least {low}")


def user_number(obj: Mapping[str, Any], name: str, at: Place) -> Found:
    """Numbers of users and groups: 31 bits."""
    yield from user_id(obj.get(name), at.field(name).path)


def user_id(value: Any, path: str) -> Found:
    """One such number, as it stands in a list too."""
    if isinstance(value, int) and not 0 <= value < 2**31:
        yield invalid(path, value, f"must be at least 0 and at most {2**31 - 1}")


def not_negative_quantity(obj: Mapping[str, Any], name: str, at: Place) -> Found:
    """A quantity of something that there is."""
    value = obj.get(name)
    if value is not None and quantities.parse(value) < 0:
        yield invalid(at.field(name).path, value, "must not be negative")
