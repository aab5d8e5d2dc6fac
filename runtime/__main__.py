"""`python -m runtime`: serve a model; `fetch` a model into the cache; print the `args-schema`."""

# Nothing heavy here: vLLM's processes are spawned and import this module again.
import sys


def main(arguments: list[str]) -> int:
    """Runs one of the program's commands and returns its exit code."""
    command = arguments[0] if arguments else ""
    if command == "fetch":
        from runtime.hub.fetch import main as fetch  # noqa: PLC0415

        return fetch(arguments[1:])
    if command == "args-schema":
        from runtime.flags.schema import main as args_schema  # noqa: PLC0415

        return args_schema(arguments[1:])
    from runtime.program import main as serve  # noqa: PLC0415

    return serve(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
