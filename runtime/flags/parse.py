"""Reading the command line: every problem at once, each with the nearest flag that exists."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.engines.base import Unsupported
from runtime.failures import Failure, Reason
from runtime.flags import recorded
from runtime.flags.bounds import BOUNDS, Bounds
from runtime.flags.judged import judge
from runtime.flags.kinds import TEXTS, Flag, is_truth
from runtime.flags.kserve import KSERVE, WITHOUT_EFFECT
from runtime.flags.nearest import nearest
from runtime.flags.settings import Settings
from runtime.flags.table import ALIASES, BY_NAME, FLAGS, INSTEAD
from runtime.flags.tokens import Given, split
from runtime.state import BackendName
from runtime.storage import uri as uris


def parse(arguments: Sequence[str]) -> Settings:
    """The settings that a command line asks for.

    Flags that are not ours are left in `engine_flags` where vLLM may serve, for its own parser to judge
    (`judged`): that takes seconds, so it is done once the server listens, but here where something else is
    wrong already. Raises Failure(InvalidArgument) with all problems, one a line.
    """
    given, stray = split(arguments)
    problems = [f"unexpected argument {word!r}: every argument is a flag with a value" for word in stray]
    values: dict[str, Any] = {flag.name: flag.default for flag in FLAGS}
    others: list[Given] = []
    written: set[str] = set()
    for each in given:
        flag = _own(each)
        if flag is None:
            others.append(each)
        elif (value := _read(flag, each, problems)) is not None:
            values[flag.name] = value
            written.add(flag.name)
    backend = values["backend"]
    problems += _misplaced(backend, written)
    refused = [_refused(backend, each) for each in others]
    problems += filter(None, refused)
    _complete(values, problems)
    if problems:
        theirs = [each for each, why in zip(others, refused, strict=True) if why is None]
        raise bad_flags([*problems, *_judged(backend, theirs)])
    values["engine_flags"] = tuple(others)
    values["without_effect"] = tuple(sorted(written & WITHOUT_EFFECT))
    values["bounds"] = Bounds(**{flag.name: values.pop(flag.name) for flag in BOUNDS})
    for flag in KSERVE:
        del values[flag.name]
    return Settings(**values)


def bad_flags(problems: Sequence[str]) -> Failure:
    """One Failure for everything that is wrong with the command line."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = "\n".join(f"  {problem}" for problem in problems)
    return Failure(Reason.INVALID_ARGUMENT, f"{count} with the flags:\n{lines}")


def _own(given: Given) -> Flag | None:
    name = given.name
    if given.dotted:
        return None
    if name.startswith("no_") and (flag := BY_NAME.get(name[3:])) is not None and is_truth(flag):
        return flag
    return BY_NAME.get(ALIASES.get(name, name))


def _read(flag: Flag, given: Given, problems: list[str]) -> Any:
    """The flag's value, or None with a problem noted."""
    values = given.values
    negated = is_truth(flag) and given.name.startswith("no_")
    if flag.kind is TEXTS and values:
        return values
    if is_truth(flag) and not values:
        values = ("false" if negated else "true",)
        negated = False
    if len(values) != 1:
        wanted = "takes one value" if not flag.choices else f"is one of {', '.join(flag.choices)}"
        problems.append(f"--{flag.name} {wanted}, got {' '.join(values) or 'none'}")
        return None
    try:
        value = flag.kind.read(values[0])
    except ValueError:
        problems.append(f"--{flag.name}={values[0]}: must be {flag.kind.noun}")
        return None
    if flag.choices and value not in flag.choices:
        close = nearest(values[0], flag.choices)
        hint = f"; did you mean {close}?" if close else ""
        problems.append(f"--{flag.name}={values[0]}: is one of {', '.join(flag.choices)}{hint}")
        return None
    return not value if negated else value


def _misplaced(backend: str, written: Iterable[str]) -> list[str]:
    """Flags of ours that mean nothing on the backend asked for."""
    served = {BackendName.VLLM, BackendName.HUGGINGFACE} if backend == "auto" else {BackendName(backend)}
    return [
        f"--{name}: only with --backend={' or '.join(sorted(BY_NAME[name].backends))}, and this is "
        f"--backend={backend}"
        for name in sorted(written)
        if not BY_NAME[name].backends & served
    ]


def _refused(backend: str, given: Given) -> str | None:
    """What is wrong with a flag that is not ours, as far as that is known without loading vLLM."""
    record = recorded.load()
    if given.name in INSTEAD:
        return f"{given.written}: {INSTEAD[given.name]}"
    if backend in ("auto", "vllm"):
        # Another version of vLLM than the recorded one has other flags: its own parser will say.
        if recorded.matches_installed(record) and not record.knows(given):
            return unknown_flag(given.written, [*BY_NAME, *record.names()])
        return None
    if record.knows(given):
        return f"{given.written}: a flag of vLLM, and this is --backend={backend}"
    return unknown_flag(given.written, BY_NAME, record.names())


def _judged(backend: str, given: Sequence[Given]) -> list[str]:
    try:
        return judge(backend, given)
    except Unsupported:  # the command line is to be mended first
        return []


def unknown_flag(written: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """The sentence for a flag that does not exist. `elsewhere`: vLLM's flags, where it does not serve."""
    name = written.lstrip("-").split(".", 1)[0]
    if close := nearest(name, known):
        return f"{written}: no such flag; did you mean --{close}?"
    close = nearest(name, elsewhere)
    return f"{written}: no such flag" + (f"; vLLM has --{close}, and does not serve here" if close else "")


def _complete(values: dict[str, Any], problems: list[str], environ: Mapping[str, str] = os.environ) -> None:
    """Fills what follows from other flags and checks what must exist."""
    if values["storage_uri"] is not None:
        problems += _stored(values)
        values["model_id"] = values["storage_uri"]
    elif values["model_id"] is None:
        if values["backend"] == "echo":
            values["model_id"] = "echo"
        elif Path(values["model_dir"]).is_dir():
            values["model_id"] = values["model_dir"]
        else:
            problems.append(
                f"--model_id is missing (ORG/NAME on the hub), and there is no directory "
                f"{values['model_dir']} "
                f"(--model_dir)"
            )
    if values["model_name"] is None:
        values["model_name"] = values["model_id"]
    template = values["chat_template"]
    if template is not None and not Path(template).is_file():
        problems.append(f"--chat_template={template}: there is no such file")


def _stored(values: dict[str, Any]) -> list[str]:
    """What is wrong with --storage_uri, alone and beside the other flags that name a model."""
    problems = []
    if values["model_id"] is not None:
        problems.append("--model_id and --storage_uri both name a model; give one of them")
    try:
        uri = uris.parse(values["storage_uri"])
    except Failure as failure:
        return [*problems, f"--storage_uri: {failure.message}"]
    if values["model_revision"] is not None and (uri.scheme != "hf" or uri.revision is not None):
        problems.append(f"--model_revision: --storage_uri={uri} says which already")
    return problems
