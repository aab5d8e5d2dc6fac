"""The generated parts of docs/admission.md. `python -m tests.admission.document --write` writes them anew."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

from stoker.serving.admission import baseline, security
from tests.admission.cases import Case
from tests.admission.table import pod_values, pods, runtimes, services
from tests.admission.table import security as security_table
from tests.admission.table.services import Row

FILE = Path(__file__).parents[2] / "docs" / "admission.md"
_TOPICS = (
    ("InferenceServices: names, model, flags, scaling", services.ROWS),
    ("Pods", pods.ROWS),
    ("Pods: values", pod_values.ROWS),
    ("What does more than serve", security_table.ROWS),
    ("Runtimes", runtimes.ROWS),
)


def written(text: str) -> str:
    """The page with its generated parts as they should be."""
    for name, part in (("security", _security()), ("rules", _rules())):
        block = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text, found = block.subn(lambda match, part=part: f"{match[1]}{part}{match[2]}", text)
        assert found == 1, name
    return text


def _security() -> str:
    flags = [f"| `--{name}` | {what} |" for name, what in sorted(security.FLAGS.items())]
    lines = ["| flag, where the runtime's image runs | why |", "|---|---|", *flags, ""]
    lines += [f"Environment variables, in all containers: {_quoted(security.ENV)}.", ""]
    fields = ("hostIPC", "hostNetwork", "hostPID", "volumes[].hostPath", "ports[].hostPort")
    fields += ("securityContext.privileged", "seLinuxOptions.user", "seLinuxOptions.role")
    fields += ("windowsOptions.hostProcess", "httpGet.host", "tcpSocket.host")
    kinds = baseline.SELINUX_TYPES - {""}
    lines += [
        f"Fields of pods: {_quoted(fields)} (hosts in probes and hooks); `seccompProfile`, `appArmorProfile` "
        f"and annotations `{baseline.APPARMOR_PREFIX}...` that are neither the default nor a local profile; "
        "`procMount` other than `Default`, unless `hostUsers: false`; "
        f"`seLinuxOptions.type` other than {_quoted(kinds)}; sysctls other than {_quoted(baseline.SYSCTLS)}; "
        f"capabilities other than {_quoted(baseline.CAPABILITIES)}.",
        "",
    ]
    return "\n".join(lines)


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in sorted(words))


def _rules() -> str:
    lines: list[str] = []
    for topic, rows in _TOPICS:
        lines += [f"### {topic}", "", "| mistake | stopped by | field | says |", "|---|---|---|---|"]
        lines += [_line(row) for row in rows]
        lines.append("")
    return "\n".join(lines)


def _line(row: Row) -> str:
    case = Case(*row)  # type: ignore[arg-type]  # the layer is a plain string there
    return f"| {case.name} | {case.layer} | `{case.field}` | {case.words.replace('|', chr(92) + '|')} |"


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True, help="write the parts anew")
    parser.parse_args()
    FILE.write_text(written(FILE.read_text()))


if __name__ == "__main__":
    main()
