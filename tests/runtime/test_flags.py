"""The command line: every spelling, every problem at once, nothing ignored."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.failures import Failure, Reason
from runtime.flags import recorded
from runtime.flags.kinds import length
from runtime.flags.parse import parse
from runtime.flags.schema import schema
from runtime.flags.table import FLAGS

from .serving import serve

_SCHEMA = Path(__file__).parents[2] / "manifests/runtimes/args-schema/runtime-0.1.0.json"


def problems(*arguments: str) -> list[str]:
    with pytest.raises(Failure) as failure:
        parse(arguments)
    assert failure.value.reason is Reason.INVALID_ARGUMENT
    assert failure.value.exit_code == 2
    return [line.strip() for line in failure.value.message.splitlines()[1:]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model_id=a/b", "--max_model_len=4096", "--trust_remote_code"],
        ["--model-id", "a/b", "--max-model-len", "4096", "--trust-remote-code=true"],
        ["--model_id", "a/b", "--max_model_len", "4k", "--trust_remote_code", "yes", "--max-model-len=4096"],
    ],
)
def test_spellings(arguments: list[str]) -> None:
    settings = parse(arguments)
    assert (settings.model_id, settings.max_model_len, settings.trust_remote_code) == ("a/b", 4096, True)
    assert settings.model_name == "a/b"


def test_truth_can_be_denied() -> None:
    assert parse(["--model_id=a", "--no-trust-remote-code"]).trust_remote_code is False
    assert parse(["--model_id=a", "--trust_remote_code=false"]).trust_remote_code is False
    assert parse(["--model_id=a", "--no_trust_remote_code=false"]).trust_remote_code is True


@pytest.mark.parametrize(
    ("text", "value"), [("auto", -1), ("-1", -1), ("8192", 8192), ("16k", 16000), ("16K", 16384)]
)
def test_lengths_are_read_as_vllm_reads_them(text: str, value: int) -> None:
    assert length(text) == value


@given(st.text(max_size=12))
def test_a_length_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert length(text) == -1 or length(text) > 0


def test_all_problems_at_once_each_with_the_nearest_match() -> None:
    assert problems("stray", "--bakend=echo", "--http_port=99999", "--dtype=bloat16", "--model_id") == [
        "unexpected argument 'stray': every argument is a flag with a value",
        "--http_port=99999: must be a port, 0 to 65535",
        "--dtype=bloat16: is one of auto, bfloat16, float, float16, float32, half; did you mean bfloat16?",
        "--model_id takes one value, got none",
        "--bakend: no such flag; did you mean --backend?",
        "--model_id is missing (ORG/NAME on the hub), and there is no directory /mnt/models (--model_dir)",
    ]


def test_flags_of_the_other_backend_are_refused() -> None:
    assert problems(
        "--backend=huggingface", "--model_id=a", "--gpu-memory-utilization=0.5", "--echo_token_seconds=1"
    ) == [
        "--echo_token_seconds: only with --backend=echo, and this is --backend=huggingface",
        "--gpu-memory-utilization: a flag of vLLM, and this is --backend=huggingface",
    ]
    assert problems("--backend=echo", "--dtype=half") == [
        "--dtype: only with --backend=huggingface or vllm, and this is --backend=echo"
    ]


MISTAKES = {
    "stray": "unexpected argument 'stray': every argument is a flag with a value",
    "--http_prot=1": "--http_prot: no such flag; did you mean --http_port?",
    "--task=text": "--task=text: is one of text_generation, text_embedding",
    "--gpu_memory_utilisation=1": "--gpu_memory_utilisation: no such flag; did you mean "
    "--gpu_memory_utilization?",
    "--model_id": "--model_id takes one value, got none",
    "--tensor-parallel-size=two": "--tensor-parallel-size=two: must be a whole number",
    "--gpu-memory-utilization=7": "--gpu-memory-utilization=7: must be less than or equal to 1",
    "--kv-cache-memory-bytes=x": "--kv_cache_memory_bytes=x: must be a whole number such as 65536 or 64K",
    "--load-format": "--load-format: takes one value, got none",
    "--scheduling-policy=fifo": "--scheduling-policy=fifo: is one of fcfs, priority",
    "--mamba-cache-mode=aling": "--mamba-cache-mode=aling: is one of align, none; did you mean align?",
    "--enforce-eager=maybe": "--enforce-eager=maybe: must be true or false, or the flag alone",
    '--compilation-config={"modee":3}': '--compilation-config={"modee":3}: modee: no such key; did you mean '
    "mode?",
    "--override-generation-config={": "--override-generation-config={: must be JSON",
    "-tp=x": "-tp=x: must be a whole number",
}
"""Of every kind: names and values, ours and vLLM's."""


@pytest.mark.model
@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["vllm", "auto"])
def test_every_mistake_is_said_at_once_values_of_vllms_flags_too(backend: str) -> None:
    found = problems(f"--backend={backend}", *MISTAKES)
    assert sorted(each for each in found if "--model_id is missing" not in each) == sorted(MISTAKES.values())


@pytest.mark.model
@pytest.mark.timeout(300)
async def test_vllms_flags_are_judged_before_anything_is_fetched() -> None:
    """Where nothing else is wrong; the server listens meanwhile."""
    flags = ("--backend=vllm", "--model_id=nowhere/none", "--block-size=x", "--enforce-eager=maybe")
    async with serve(*flags, wait=False) as server:
        with pytest.raises(Failure) as failure:
            await server.run
        assert "Fetching" not in server.service.state.seconds()
    assert (failure.value.exit_code, len(failure.value.message.splitlines())) == (2, 3)


def test_flags_of_vllm_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "vllm" else real(name))
    why = "--block-size: a flag of vLLM, which cannot serve here: vLLM is not installed in this image"
    assert problems("--model_id=a", "--block-size=16", "--dtype=x")[1:] == [why]
    assert len(problems("--backend=vllm", "--model_id=a", "--block-size=16", "--dtype=x")) == 1


def test_on_transformers_flags_of_vllm_are_refused_whatever_their_value() -> None:
    found = problems("--backend=huggingface", "--model_id=a", *(m for m in MISTAKES if m != "--model_id"))
    assert len(found) == len(MISTAKES) - 1
    assert "--tensor-parallel-size: a flag of vLLM, and this is --backend=huggingface" in found
    assert (
        "--gpu_memory_utilisation: no such flag; vLLM has --gpu_memory_utilization, and does not serve here"
        in found
    )


def test_flags_of_vllm_are_left_to_its_parser() -> None:
    settings = parse(
        ["--model_id=a", "-tp", "2", "--compilation-config.mode=3", "--num_gpu_blocks_override=9"]
    )
    assert [given.arguments() for given in settings.engine_flags] == [
        ["-tp", "2"],
        ["--compilation-config.mode=3"],
        ["--num_gpu_blocks_override=9"],
    ]


@pytest.mark.parametrize("flag", ["--no-enable-prefix-caching", "--no_enable_prefix_caching"])
def test_what_vllm_can_be_told_not_to_do(flag: str) -> None:
    assert [given.written for given in parse(["--model_id=a", flag]).engine_flags] == [flag]
    assert problems("--model_id=a", "--no-block-size") == [
        "--no-block-size: no such flag; did you mean --block_size?"
    ]


def test_a_mistyped_flag_of_vllm_is_refused_without_loading_it() -> None:
    assert problems("--model_id=a", "--gpu_memory_utilisation=0.5") == [
        "--gpu_memory_utilisation: no such flag; did you mean --gpu_memory_utilization?"
    ]


@pytest.mark.parametrize(
    ("flag", "instead"),
    [("--model=a", "--model_id"), ("--revision=x", "--model_revision"), ("--hf-token=s", "Secret")],
)
def test_flags_that_are_written_otherwise_here(flag: str, instead: str) -> None:
    (problem,) = problems("--model_id=a", flag)
    assert instead in problem
    assert "=s" not in problem  # never a secret's value


def test_a_model_directory_needs_no_id(tmp_path: Path) -> None:
    assert parse([f"--model_dir={tmp_path}"]).model_id == str(tmp_path)
    (problem,) = problems("--model_dir=/nowhere")
    assert "--model_id is missing" in problem


def test_a_chat_template_must_exist(tmp_path: Path) -> None:
    assert problems("--model_id=a", f"--chat_template={tmp_path}/x.jinja") == [
        f"--chat_template={tmp_path}/x.jinja: there is no such file"
    ]


def test_the_committed_schema_is_that_of_the_flags() -> None:
    """To regenerate: python -m runtime args-schema > manifests/runtimes/args-schema/runtime-0.1.0.json"""
    made = json.loads(json.dumps(schema(recorded.load().properties)))
    assert json.loads(_SCHEMA.read_text()) == made
    jsonschema.Draft202012Validator.check_schema(made)


def test_the_schema_accepts_what_the_parser_accepts() -> None:
    document = json.loads(_SCHEMA.read_text())
    jsonschema.validate(
        {"model_id": "a/b", "max_model_len": "16k", "dtype": "half", "tensor_parallel_size": 2}, document
    )
    for wrong in (
        {"modle_id": "a"},
        {"dtype": "bloat16"},
        {"http_port": 99999},
        {"tensor_parallel_size": "two"},
        {"tensor_parallel_size": 0},
        {"gpu_memory_utilization": 0},
        {"max_body_bytes": 0},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, document)
    assert {flag.name for flag in FLAGS} <= document["properties"].keys()


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_record_is_that_of_the_installed_vllm() -> None:
    """To regenerate: python -m runtime args-schema --vllm > runtime/flags/vllm_flags.json"""
    from runtime.flags.schema import installed_properties

    assert recorded.load().properties == json.loads(json.dumps(installed_properties()))


def test_kserves_flags_are_taken_with_what_they_can_mean_here() -> None:
    settings = parse(
        ["--backend=echo", "--workers=1", "--enable_grpc=false", "--enable-docs-url", "False",
         "--no-enable_grpc", "--max_threads=4", "--grpc_port", "8081", "--event-loop=uvloop",
         "--log_config_file=/x", "--timeout-keep-alive=65",
         "--max_length=128", "--return_probabilities=false", "--protocol=v2"]
    )  # fmt: skip
    assert (settings.timeout_keep_alive, settings.max_model_len) == (65, 128)
    assert settings.without_effect == (
        "event_loop",
        "grpc_port",
        "log_config_file",
        "max_threads",
        "protocol",
    )


def test_kserves_flags_that_would_be_ignored_are_refused_with_the_reason() -> None:
    given = ("--workers=2", "--enable_grpc", "--enable_docs_url=true", "--workers=x")
    found = problems("--backend=echo", *given)
    assert [problem.split(":")[0] for problem in found] == [
        "--workers=2", "--enable_grpc=true", "--enable_docs_url=true", "--workers=x",
    ]  # fmt: skip
    assert "minReplicas" in found[0]
    assert "HTTP only" in found[1]


@pytest.mark.parametrize("flag", ["--max_n=0", "--max_body_bytes=auto", "--request_seconds=-1", "--max_n=x"])
def test_a_limit_is_a_number(flag: str) -> None:
    (problem,) = problems("--backend=echo", flag)
    assert problem.startswith(flag)
