"""What is remembered about a running cluster between `stoker` commands: HOME/cluster.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from stoker.local.home import Home

PROMETHEUS_PORT = 30090
DEFAULT_DOMAIN = "example.com"


@dataclass(frozen=True)
class Record:
    """One cluster: how it was asked for, and where it is reached."""

    mode: Literal["node", "control-plane"]
    pid: int  # parent of the node's process 1, or the supervisor of the host processes
    url: str
    ingress_host: str
    ingress_port: int
    gpus: int = 0
    domain: str = DEFAULT_DOMAIN
    prometheus: bool = False

    @property
    def prometheus_url(self) -> str | None:
        """Where Prometheus answers; None where none was asked for."""
        return f"http://{self.ingress_host}:{PROMETHEUS_PORT}" if self.prometheus else None

    def save(self, home: Home) -> None:
        """Write it, so that other commands find the cluster."""
        temporary = home.record.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self), indent=1))
        temporary.replace(home.record)

    def asked(self, gpus: int | None, domain: str | None, prometheus: bool | None) -> Record:
        """With what a new `up` asks for; None keeps what is."""
        return replace(
            self,
            gpus=self.gpus if gpus is None else gpus,
            domain=self.domain if domain is None else domain,
            prometheus=self.prometheus if prometheus is None else prometheus,
        )


def load(home: Home) -> Record | None:
    """The record of a cluster, or None when there is none (or only a damaged one)."""
    try:
        return Record(**json.loads(home.record.read_text()))
    except (OSError, ValueError, TypeError):
        return None
