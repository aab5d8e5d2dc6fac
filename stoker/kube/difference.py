"""Whether a live object already is what we want, so that nothing need be sent."""

from __future__ import annotations

from stoker.kube.quantity import same_quantity
from stoker.kube.resource import Object

# Where the API has quantities: in these maps, and in these fields. Elsewhere "0.5" and "500m" are two
# strings, as a flag's value is.
_QUANTITY_MAPS = frozenset({("resources", "limits"), ("resources", "requests"), ("spec", "overhead")})
_QUANTITY_FIELDS = frozenset({("emptyDir", "sizeLimit"), ("resourceFieldRef", "divisor")})


def covers(live: Object, wanted: Object) -> bool:
    """True where every field of `wanted` is already so in `live`.

    Fields that only `live` has are the server's defaults or other writers' and do not count. What the
    server does not store may be absent: null, "", [], {}, 0 and false. Lists must have the same length
    and cover each other in order. Quantities are compared by value, where the API has quantities.
    """
    return _covers(live, wanted, ())


def _covers(live: object, wanted: object, path: tuple[str, ...]) -> bool:
    """`path`: the names of the last three fields on the way here, lists left out."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        return all(
            _covers(live[name], value, (*path[-2:], name)) if name in live else not value
            for name, value in wanted.items()
        )
    if isinstance(live, list) and isinstance(wanted, list):
        return len(live) == len(wanted) and all(
            _covers(is_so, should, path) for is_so, should in zip(live, wanted, strict=True)
        )
    # To Python, True == 1. And of an emptied list or map the server keeps either the empty value or null.
    same = live == wanted and isinstance(live, bool) == isinstance(wanted, bool)
    nothing = not live and not wanted and (live is None or wanted is None)
    return same or nothing or _quantities(live, wanted, path)


def _quantities(live: object, wanted: object, path: tuple[str, ...]) -> bool:
    if path[:-1] not in _QUANTITY_MAPS and path[-2:] not in _QUANTITY_FIELDS:
        return False
    return same_quantity(live, wanted)
