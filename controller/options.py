"""What the program is told: flags and the settings file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stoker.configuration import add_settings_flags, take_settings
from stoker.serving.settings import Settings

ARGS_SCHEMAS = Path("/etc/stoker/args-schemas")


@dataclass(frozen=True)
class Options:
    """The flags, checked."""

    kubeconfig: str | None
    namespace: str
    workers: int
    state_poll: float  # seconds
    health_port: int
    log_format: str | None
    leader_elect: bool
    gateway_selector: str
    args_schemas: Path
    settings: Settings


def parse_options(arguments: Sequence[str]) -> Options:
    """From the command line; ends the program with a message where something is wrong."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    settings = take_settings(parser, given)
    return Options(**given, settings=settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m controller",
        description="Makes the cluster what its InferenceServices ask for.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--kubeconfig", metavar="FILE", help="default: the pod's service account, else the usual kubeconfig")
    add("--namespace", default="stoker-system", help="of the Lease and of the gateway (default: %(default)s)")
    add(
        "--workers",
        type=_positive,
        default=4,
        help="InferenceServices in work at once (default: %(default)s)",
    )
    add(
        "--state-poll",
        type=_seconds,
        default=2.0,
        metavar="SECONDS",
        help="between two looks at a pod that is not ready yet (default: %(default)s)",
    )
    add("--health-port", type=int, default=8081, help="/healthz, /readyz, /metrics; 0: any free port")
    add("--log-format", choices=["json", "console"])
    add(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="wait for the Lease stoker-controller; needed where more than one may run",
    )
    add(
        "--gateway-selector",
        default="",
        metavar="LABELS",
        help="IngressReady needs a ready pod with these labels in --namespace; default: it is not watched",
    )
    add("--args-schemas", type=Path, default=ARGS_SCHEMAS, metavar="DIR", help="default: %(default)s")
    add_settings_flags(parser)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number, 1 or greater")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.01 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("must be a number of seconds from 0.01 to 3600")
    return seconds
