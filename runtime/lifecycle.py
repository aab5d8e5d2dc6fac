"""From process start to the first real answer: fetch, choose the backend, load, warm up; then watch."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
from pathlib import Path
from typing import cast

import structlog

from runtime.background import in_thread
from runtime.engines.base import Embedder, Engine, ModelFiles, Sampling, Unsupported
from runtime.failures import Failure, Reason, explain
from runtime.flags.judged import judge, without_vllm
from runtime.flags.parse import bad_flags
from runtime.flags.settings import Settings
from runtime.hub import cache as hub_cache
from runtime.hub.download import locate_tokenizer
from runtime.openai.problem import ApiProblem
from runtime.server.service import Service
from runtime.state import Backend, BackendName, BackendReason, Phase, Progress, State
from runtime.storage.files import Choice
from runtime.storage.reporting import Reporting
from runtime.storage.resolve import Wanted, resolve
from runtime.storage.retry import Retrying
from runtime.watchdog import Watchdog, patience

_WATCH_SECONDS = 1.0
_WARM_SECONDS = 900.0  # a device's first step may compile its kernels, for minutes

log = structlog.get_logger()


class Reporter:
    """Passes what an engine reports on to the state, from any thread."""

    def __init__(self, state: State, loop: asyncio.AbstractEventLoop) -> None:
        self._state = state
        self._loop = loop

    def phase(self, phase: Phase) -> None:
        """A new phase has begun."""
        self._loop.call_soon_threadsafe(self._state.enter, phase)

    def progress(self, progress: Progress) -> None:
        """The phase got so far."""
        self._state.progress = progress


class Lifecycle:
    """Brings one model up. `run` returns only by raising the Failure that ends the program."""

    def __init__(self, settings: Settings, service: Service) -> None:
        self._settings = settings
        self._service = service
        self._state = service.state
        self.engine: Engine | None = None

    async def run(self) -> None:
        """Starts everything, then watches the engine until it fails. Raises Failure."""
        doing = "starting"
        try:
            self.engine = await self._choose()
            doing = f"loading {self._settings.model_id} on {self.engine.name}"
            facts = await self.engine.start(Reporter(self._state, asyncio.get_running_loop()))
            self._service.attach(self.engine, facts)
            if facts.one_at_a_time is not None:
                self._state.add_to_backend(f"one answer at a time: {facts.one_at_a_time[1]}")
            bounds = self._settings.bounds
            self._service.watchdog = Watchdog(
                self.engine, patience(facts, bounds.unready_seconds, bounds.unlive_seconds)
            )
            doing = "generating the first token"
            self._state.enter(Phase.WARMING)
            await self._warm(self.engine)
        except Exception as error:
            failure = explain(error, doing=doing)
            if failure.reason is Reason.ENGINE_FAILED and not isinstance(error, Failure):
                log.exception("start failed")
            raise failure from error
        # What is loaded stays: keep the garbage collector from walking it again and again.
        gc.collect()
        gc.freeze()
        self._state.enter(Phase.READY)
        log.info("ready", model=self._settings.model_name, seconds=self._state.seconds())
        await self._watch(self.engine)

    async def _choose(self) -> Engine:
        settings = self._settings
        if settings.backend == "echo":
            from runtime.engines.echo import EchoEngine  # noqa: PLC0415 - engines load on demand

            self._chosen(BackendName.ECHO, BackendReason.REQUESTED, "asked for with --backend=echo")
            if settings.storage_uri is not None:
                await self._fetch()  # it needs no model, and whoever names one wants to know that it is there
            return EchoEngine(
                max_model_len=settings.max_model_len,
                max_num_seqs=settings.max_num_seqs,
                token_seconds=settings.echo_token_seconds,
                load_seconds=settings.echo_load_seconds,
            )
        if settings.backend != "auto":
            message = f"asked for with --backend={settings.backend}"
            self._chosen(BackendName(settings.backend), BackendReason.REQUESTED, message)
        await self._judge_flags()
        files = await self._fetch()
        if settings.backend == "huggingface":
            return _transformers(settings, files)
        try:
            engine = await in_thread(lambda: _vllm(settings, files), "import vllm")
        except Unsupported as unsupported:
            if settings.backend == "vllm":
                raise Failure(Reason.BACKEND_UNAVAILABLE, f"--backend=vllm: {unsupported.message}") from None
            return self._fall_back(unsupported, files)
        if settings.backend == "auto":
            self._chosen(BackendName.VLLM, BackendReason.DEFAULT, "vLLM serves this model")
        return engine

    async def _judge_flags(self) -> None:
        """vLLM's flags by its own parser, before anything is fetched. Raises Failure."""
        settings = self._settings
        if not settings.engine_flags:
            return
        self._state.enter(Phase.IMPORTING)
        try:
            wrong = await in_thread(lambda: judge(settings.backend, settings.engine_flags), "import vllm")
        except Unsupported as unsupported:
            raise Failure(Reason.BACKEND_UNAVAILABLE, f"--backend=vllm: {unsupported.message}") from None
        if wrong:
            raise bad_flags(wrong)

    def _fall_back(self, unsupported: Unsupported, files: ModelFiles) -> Engine:
        if self._settings.engine_flags:
            raise bad_flags(without_vllm(self._settings.engine_flags, unsupported.message))
        self._chosen(BackendName.HUGGINGFACE, unsupported.reason, unsupported.message)
        return _transformers(self._settings, files)

    def _chosen(self, name: BackendName, reason: BackendReason, message: str) -> None:
        self._state.choose(Backend(name, reason, message))
        log.info("backend chosen", backend=name.value, reason=reason.value, message=message)

    async def _fetch(self) -> ModelFiles:
        settings, state = self._settings, self._state
        state.enter(Phase.FETCHING)
        reporting = Reporting(state, log)
        retrying = Retrying(on_retry=reporting.retrying, on_wait=reporting.waiting)

        def fetch() -> tuple[Path, Path]:
            path = resolve(_wanted(settings), reporting.report, retrying)
            tokenizer = locate_tokenizer(
                path,
                settings.tokenizer,
                settings.tokenizer_revision,
                settings.model_id,
                hub_cache.hub_cache(),
            )
            return path, tokenizer

        path, tokenizer = await in_thread(fetch, "fetch model")
        if path.parent.name == "snapshots":
            state.resolve_revision(path.name)
        if hub_cache.is_stand_in(path):
            log.warning("stand-in weights", model=settings.model_id, note=hub_cache.STAND_IN_NOTE)
        # Libraries are imported where the engine is made or starts; it says itself when it begins to load.
        state.enter(Phase.IMPORTING)
        return ModelFiles(path, tokenizer)

    async def _warm(self, engine: Engine) -> None:
        """One real inference through the path that requests take: a token, or an embedding."""
        await self._try_template()
        prompt = self._service.facts.tokenizer.encode("Hello")
        sampling = Sampling(max_tokens=2, temperature=0.0)
        try:
            async with asyncio.timeout(_WARM_SECONDS):
                if self._service.facts.embeds:
                    await cast(Embedder, engine).embed("warm-up", [prompt])
                else:
                    await engine.push("warm-up", prompt, sampling, lambda delta: bool(delta.finish_reason))
        except TimeoutError:
            message = f"The engine gave no first answer within {_WARM_SECONDS:g} seconds."
            raise Failure(Reason.ENGINE_FAILED, message) from None

    async def _try_template(self) -> None:
        """Starts what renders chats, and tells of a template that cannot render the plainest one."""
        if self._service.facts.embeds or self._service.facts.tokenizer.chat is None:
            return
        try:
            await self._service.tokenizing.chat([{"role": "user", "content": "Hello"}])
        except ApiProblem as problem:
            log.warning("chats are refused", message=problem.message)

    async def _watch(self, engine: Engine) -> None:
        watchdog = self._service.watchdog
        assert watchdog is not None
        unready = unlive = False
        while (problem := engine.problem()) is None:
            watchdog.look()
            if (watchdog.unready, watchdog.unlive) != (unready, unlive):
                unready, unlive = watchdog.unready, watchdog.unlive
                stalled = round(watchdog.stalled_seconds, 1)
                if unready:
                    log.error("the engine makes no progress", seconds=stalled, ready=False, live=not unlive)
                else:
                    log.warning("the engine makes progress again", ready=True)
            await asyncio.sleep(_WATCH_SECONDS)
        raise Failure(Reason.ENGINE_DIED, f"The engine ended: {problem}")


def _wanted(settings: Settings) -> Wanted:
    return Wanted(
        settings.model_id,
        settings.storage_uri,
        settings.model_revision,
        Path(settings.model_dir),
        Choice(pickle=settings.allow_pickle, code=settings.trust_remote_code),
    )


def _vllm(settings: Settings, files: ModelFiles) -> Engine:
    from runtime.engines.vllm.make import make_engine  # noqa: PLC0415 - imports vLLM, for seconds

    return make_engine(settings, files)


def _transformers(settings: Settings, files: ModelFiles) -> Engine:
    if importlib.util.find_spec("transformers") is None or importlib.util.find_spec("torch") is None:
        raise Failure(Reason.BACKEND_UNAVAILABLE, "transformers and torch are not installed in this image.")
    if settings.embeds:
        if settings.kv_cache_memory_bytes is not None:
            raise bad_flags(["--kv_cache_memory_bytes: on transformers embeddings keep no keys and values"])
        from runtime.engines.transformers.embedding import EmbeddingEngine  # noqa: PLC0415

        return EmbeddingEngine(
            files,
            dtype=settings.dtype,
            max_model_len=settings.max_model_len,
            max_num_seqs=settings.max_num_seqs,
            trust_remote_code=settings.trust_remote_code,
        )
    from runtime.engines.transformers.engine import TransformersEngine  # noqa: PLC0415 - imported in its start

    return TransformersEngine(
        files,
        dtype=settings.dtype,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        kv_cache_memory_bytes=settings.kv_cache_memory_bytes,
        trust_remote_code=settings.trust_remote_code,
        chat_template=settings.chat_template,
        grammar_seconds=settings.bounds.grammar_seconds,
    )
