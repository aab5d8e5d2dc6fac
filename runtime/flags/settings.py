"""What the command line says, typed."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.flags.bounds import Bounds
from runtime.flags.tokens import Given


@dataclass(frozen=True)
class Settings:
    """The flags of runtime/flags/table.py by name; `engine_flags` are those left to vLLM's own parser,
    `without_effect` the names of KServe's flags that were given and mean nothing here.
    """

    model_name: str
    served_model_name: tuple[str, ...]
    model_id: str
    model_revision: str | None
    tokenizer: str | None
    tokenizer_revision: str | None
    backend: str
    task: str
    max_model_len: int | None
    dtype: str
    trust_remote_code: bool
    chat_template: str | None
    max_num_seqs: int | None
    kv_cache_memory_bytes: int | None
    seed: int | None
    http_port: int
    http_host: str
    timeout_keep_alive: float
    api_keys_file: str | None
    tool_call_parser: str
    bounds: Bounds
    lame_duck_seconds: float
    drain_seconds: float
    log_format: str
    disable_log_requests: bool
    echo_token_seconds: float
    echo_load_seconds: float
    engine_flags: tuple[Given, ...] = ()
    without_effect: tuple[str, ...] = ()
    model_dir: str = "/mnt/models"
    storage_uri: str | None = None
    allow_pickle: bool = False

    @property
    def embeds(self) -> bool:
        """Whether the model is to give embeddings, and to write no text."""
        return self.task == "text_embedding"

    @property
    def names(self) -> tuple[str, ...]:
        """Every name by which requests may ask for the model, the main one first."""
        return (self.model_name, *(each for each in self.served_model_name if each != self.model_name))
