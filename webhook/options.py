"""What the program is told: flags and the settings file."""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from stoker.configuration import add_settings_flags, take_settings
from stoker.kube.resource import Key
from stoker.serving.settings import Settings
from webhook.registration import Reach
from webhook.renewal import Lifetimes

ARGS_SCHEMAS = Path("/etc/stoker/args-schemas")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Options:
    """The flags, checked."""

    kubeconfig: str | None
    namespace: str
    host: str | None
    port: int
    url: str
    service: str
    register: bool
    health_port: int
    log_format: str | None
    args_schemas: Path
    drain: timedelta
    linger: timedelta
    lifetimes: Lifetimes
    settings: Settings

    def reach(self, port: int) -> Reach:
        """How API servers get here. `port` is the one listened on; it stands in for a 0 in the URL."""
        namespace, _, name = self.service.rpartition("/")
        url = urlsplit(self.url)
        if url.port == 0:
            url = url._replace(netloc=url.netloc.removesuffix(":0") + f":{port}")
        return Reach(Key(namespace or self.namespace, name), url.geturl())


def parse_options(arguments: Sequence[str]) -> Options:
    """From the command line; ends the program with a message where something is wrong."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    try:
        lifetimes = Lifetimes(
            given.pop("ca_life"), given.pop("leaf_life"), given.pop("announce"), given.pop("overlap")
        )
    except ValueError as fault:
        parser.error(str(fault))
    settings = take_settings(parser, given)
    given["host"] = given["host"] or _host_of(given["url"])
    return Options(**given, lifetimes=lifetimes, settings=settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m webhook", description="Answers admission reviews.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--kubeconfig", metavar="FILE", help="default: the pod's service account, else the usual kubeconfig")
    add("--namespace", default="stoker-system", help="where the certificates' Secret and the Service are")
    add("--host", default="", help="address to listen on; default: all, or the URL's where it is loopback")
    add("--port", type=int, default=9443, help="0: any free port")
    add("--url", default="", type=_https, help="register as https://HOST:PORT; port 0: the real one")
    add(
        "--service",
        default="stoker-webhook",
        metavar="[NAMESPACE/]NAME",
        help="register through this Service",
    )
    add(
        "--register", action=argparse.BooleanOptionalAction, default=True, help="no: somebody else applies it"
    )
    add("--health-port", type=int, default=8081, help="/healthz, /readyz, /metrics; 0: any free port")
    add("--log-format", choices=["json", "console"])
    add_settings_flags(parser)
    add("--args-schemas", type=Path, default=ARGS_SCHEMAS, metavar="DIR", help="default: %(default)s")
    add("--drain", type=_duration, default="5s", help="after SIGTERM, how long to go on at least")
    add(
        "--linger",
        type=_duration,
        default="95s",
        help="then, how long at most to wait until clients end theirs",
    )
    life = Lifetimes()
    add("--ca-life", type=_duration, default=life.authority, metavar="60d")
    add("--leaf-life", type=_duration, default=life.leaf, metavar="7d")
    add("--announce", type=_duration, default=life.announce, metavar="5m", help="new CA: known before used")
    add("--overlap", type=_duration, default=life.overlap, metavar="24h", help="old CA: trusted after use")
    return parser


def _duration(text: str) -> timedelta:
    if not (found := re.fullmatch(r"(\d+)([smhd])", text)):
        raise argparse.ArgumentTypeError("must be a whole number with s, m, h or d, as in 90s")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def _https(text: str) -> str:
    url = urlsplit(text)
    if text and (url.scheme != "https" or not url.hostname or url.query or url.fragment or url.username):
        raise argparse.ArgumentTypeError("must be https://HOST:PORT, as API servers take it")
    return text


def _host_of(url: str) -> str | None:
    host = urlsplit(url).hostname or ""
    try:
        return host if ipaddress.ip_address(host).is_loopback else None
    except ValueError:
        return "127.0.0.1" if host == "localhost" else None
