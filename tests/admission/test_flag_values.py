"""What admission says of a flag's value, against what the program that reads it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from runtime.failures import Failure
from runtime.flags.parse import parse
from runtime.flags.table import ALIASES, FLAGS
from runtime.flags.tokens import split
from stoker.serving.admission.flags import check_flags
from tests.serving import golden

(SCHEMA,) = golden.args_schemas().values()
# The file of a template is not known here, and storage URIs are judged as those of the field are.
_OWN = sorted({flag.name for flag in FLAGS} - {"chat_template", "storage_uri"} | ALIASES.keys())
_NUMBERS = [
    *("-1", "0", "00", "1", "2", "007", "1.5", "0.01", ".5", "1e3", "1_000", "+5", "8080", "65535", "65536"),
    *("16k", "16K", "1.5k", "1.5K", "12kk", "4GiB", "8Mi", "0k", "k", "16q", "nan", "inf", "²", "٣"),
]
_WORDS = [
    *("", " ", "x", "true", "False", "yes", "off", "maybe", " 8 ", " 1 ", "auto", "AUTO", "None", "none"),
    *("half", "vllm", "echo", "a=b"),
]
_JSON = ["{}", '{"a": ', "[1]", "7", "{x}", '"text"', "null"]


def refused(word: str) -> bool:
    return bool(list(check_flags([word], [word], "args", SCHEMA)))


def refused_by_the_runtime(word: str) -> bool:
    try:
        parse([word, *([] if word.startswith("--model_id") else ["--model_id=a/b"])])
    except Failure:
        return True
    return False


def refused_by_vllm(word: str) -> bool:
    from runtime.flags.judged import judge

    return bool(judge("vllm", split([word])[0]))


def differing(words: Iterable[str], by_the_program: Callable[[str], bool]) -> dict[str, str]:
    """The words that only one of admission and the program refuses, and which."""
    told = {word: (refused(word), by_the_program(word)) for word in words}
    return {
        word: "admission" if both[0] else "the program" for word, both in told.items() if len({*both}) > 1
    }


def written(name: str, values: Iterable[str]) -> list[str]:
    return [f"--{name}", *(f"--{name}={value}" for value in values)]


@pytest.mark.parametrize("name", _OWN)
def test_of_the_runtimes_own_flags_what_its_parser_refuses_and_nothing_else(name: str) -> None:
    assert differing(written(name, [*_NUMBERS, *_WORDS, *_JSON]), refused_by_the_runtime) == {}
    assert differing(written(f"no_{name}", ["true", "false", "x"]), refused_by_the_runtime) == {}


# One of each shape that a schema may have. All of vLLM's flags with all values take minutes.
_SHAPES = [
    *("max_num_batched_tokens", "max_num_queued_tokens", "num_gpu_blocks_override", "tensor_parallel_size"),
    *("gpu_memory_utilization", "device-memory-utilization", "quantization", "kv_cache_dtype", "spec_method"),
    *("enforce_eager", "hf_overrides", "speculative_config", "limit_mm_per_prompt", "compilation_config"),
]


@pytest.mark.model
@pytest.mark.timeout(300)
def test_of_vllms_flags_what_its_parser_refuses_and_nothing_else() -> None:
    values = ["", "None", "0", "1.5", "1.5k", "1.5K", "12kk", "4GiB", "x", "a=b", "{}", "[1]", '{"a": ']
    words = [word for name in _SHAPES for word in written(name, values)]
    words.append('--kv-transfer-config={"kv_connector_extra_config": {"cpu_bytes_to_use": 80m}}')
    assert differing(words, refused_by_vllm) == {}
