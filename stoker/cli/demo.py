"""`make demo`: from nothing to a model's answers, showing each command so that it can be repeated."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "manifests" / "samples" / "smollm2.yaml"
NAME = "smollm2"
READY_WITHIN = 600.0  # seconds; a cold vLLM start on two busy cores takes about 100

POEM = {"model": NAME, "prompt": "Write a poem about colors", "max_tokens": 30}
SPOKEN = {
    "model": NAME,
    "messages": [
        {"role": "system", "content": "You are an assistant that speaks like Shakespeare."},
        {"role": "user", "content": "Write a poem about colors"},
    ],
    "max_tokens": 30,
}
BRIEF = {"max_tokens": 8}  # a line per token: enough to see it stream
REQUESTS = (
    ("Completions", "completions", POEM | {"stream": False}),
    ("Completions, streaming", "completions", POEM | BRIEF | {"stream": True}),
    ("Chat", "chat/completions", SPOKEN | {"stream": False}),
    ("Chat, streaming", "chat/completions", SPOKEN | BRIEF | {"stream": True}),
)

console = Console(highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """A step failed; the message says which, the step itself has said why."""


def main() -> None:
    """Run the demo; exit 1 when a step fails, 130 on Ctrl-C."""
    try:
        demo()
    except DemoFailed as failure:
        console.print(f"\n[bold red]The demo stopped:[/] {failure}")
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("\nStopped. What is up stays up; [bold].venv/bin/stoker down[/] stops it.")
        sys.exit(130)


def demo() -> None:
    """Set up, serve, ask, and say how to go on."""
    stoker("binaries")
    stoker("model", "fetch")
    stoker("up")
    env = environment()
    title("Serve a model")
    shown(["kubectl", "apply", "-f", str(SAMPLE.relative_to(ROOT))], env)
    wait_until_ready(env)
    shown(["kubectl", "get", "inferenceservices"], env)
    host = printed(["kubectl", "get", "isvc", NAME, "-o", "jsonpath={.status.url}"], env).split("/", 2)[2]
    for heading, path, body in REQUESTS:
        title(heading)
        url = f"http://{env['INGRESS_HOST']}:{env['INGRESS_PORT']}/openai/v1/{path}"
        headers = ["-H", "content-type: application/json", "-H", f"Host: {host}"]
        shown(["curl", "-sS", "--fail-with-body", url, *headers, "-d", json.dumps(body)], env)
        console.print()
    closing()


def stoker(*args: str) -> None:
    """Run the stoker command in the foreground; it shows its own progress."""
    command = [sys.executable, "-m", "stoker.cli.main", *args]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise DemoFailed(f"`stoker {' '.join(args)}` failed; what it says above is what to mend.")


def environment() -> dict[str, str]:
    """What a shell has after `eval "$(stoker env)"`."""
    script = f'eval "$({shlex.quote(sys.executable)} -m stoker.cli.main env)" && env -0'
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, check=True)
    return dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if "=" in entry)


def title(words: str) -> None:
    """A heading between the parts of the demo."""
    console.print(f"\n[bold]{words}[/]")


def shown(command: list[str], env: dict[str, str]) -> None:
    """Print a command as one would type it, then run it."""
    console.print(f"$ {shlex.join(command)}", style="cyan", markup=False)
    sys.stdout.flush()
    if subprocess.run(command, cwd=ROOT, env=env, check=False).returncode != 0:
        raise DemoFailed(f"`{command[0]}` failed; `.venv/bin/stoker status` and `stoker logs` say more.")
    sys.stdout.flush()


def printed(command: list[str], env: dict[str, str]) -> str:
    """What a command prints."""
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout


def wait_until_ready(env: dict[str, str]) -> None:
    """Wait for the InferenceService, showing each phase of the model's load as the status tells it."""
    began, said = time.monotonic(), ""
    with console.status("waiting for the InferenceService") as spinner:
        while time.monotonic() - began < READY_WITHIN:
            ready = ready_condition(env)
            if ready.get("status") == "True":
                console.print(f"  ready after {time.monotonic() - began:.0f} s")
                return
            words = f"{ready.get('reason', 'Pending')}: {ready.get('message', 'not looked at yet')}"
            if words != said:
                said = words
                console.print(f"  {time.monotonic() - began:4.0f} s  {words}", markup=False)
                spinner.update(words.replace("[", r"\["))
            time.sleep(0.5)
    raise DemoFailed(f"{NAME} was not ready within {READY_WITHIN:.0f} s. It says: {said}")


def ready_condition(env: dict[str, str]) -> dict[str, str]:
    """The Ready condition that judges the stored generation, or {}."""
    isvc = json.loads(printed(["kubectl", "get", "isvc", NAME, "-o", "json"], env))
    status = isvc.get("status", {})
    if status.get("observedGeneration") != isvc["metadata"]["generation"]:
        return {}
    return next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {})


def closing() -> None:
    """How to look around, and how to stop."""
    home = f"STOKER_HOME={shlex.quote(os.environ['STOKER_HOME'])} " if os.environ.get("STOKER_HOME") else ""
    title("The cluster stays up. To look around:")
    for line in (
        f'eval "$({home}.venv/bin/stoker env)"    # kubectl and curl then work as above',
        "kubectl get inferenceservices -o wide",
        f"kubectl describe inferenceservice {NAME}",
        ".venv/bin/stoker status                 # and: stoker logs controller -f",
        "kubectl apply -f manifests/samples/smollm2-huggingface.yaml  # an update, to transformers",
    ):
        console.print(f"  {line}", markup=False)
    console.print(f"To stop it:\n  {home}.venv/bin/stoker down", markup=False)


if __name__ == "__main__":
    main()
