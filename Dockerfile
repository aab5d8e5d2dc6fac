# Stoker's images. Targets: stoker (controller, webhook, gateway), runtime-cpu, runtime-cuda,
# fetch (brings weights for images that do not themselves).
#   buildah build --target stoker -t stoker.dev/stoker:0.1.0 .
# `make images` builds the first two on a Debian base of its own and asks one for a completion.
ARG BASE=debian:12-slim

FROM ${BASE} AS base
RUN command -v python3 >/dev/null || \
    { apt-get update && apt-get install -y --no-install-recommends python3 ca-certificates && rm -rf /var/lib/apt/lists/*; }
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONPATH=/opt/stoker \
    PYTHONUNBUFFERED=1

# Packages are installed here and copied: no installer, no cache in what runs. Their bytecode is made here too:
# pods run with a read-only root, and compiling vLLM at every start takes longer than loading a model.
FROM base AS build
RUN python3 -m ensurepip --version >/dev/null 2>&1 || \
    { apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*; }
COPY requirements /requirements
RUN python3 -m venv /opt/venv

FROM build AS build-stoker
RUN /opt/venv/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r /requirements/stoker.txt

FROM build AS build-fetch
RUN /opt/venv/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r /requirements/fetch.txt

FROM build AS build-runtime-cpu
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /requirements/runtime-cpu.txt

FROM build AS build-runtime-cuda
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /requirements/runtime-cuda.txt

FROM base AS stoker
COPY --from=build-stoker /opt/venv /opt/venv
COPY stoker /opt/stoker/stoker
COPY controller /opt/stoker/controller
COPY webhook /opt/stoker/webhook
COPY gateway /opt/stoker/gateway
COPY manifests/runtimes/args-schema /etc/stoker/args-schemas
USER 65532:65532
CMD ["python", "-m", "controller"]

# The init container of pods whose own image fetches nothing: no torch, so that it is pulled in seconds.
FROM base AS fetch
COPY --from=build-fetch /opt/venv /opt/venv
COPY runtime /opt/stoker/runtime
USER 65532:65532
ENTRYPOINT ["python", "-m", "runtime", "fetch"]

# Models are fetched into HF_HOME, which the runtimes mount as a writable volume.
FROM base AS runtime-cpu
# vLLM's CPU build links libnuma, which its wheel does not bring.
RUN apt-get update && apt-get install -y --no-install-recommends libnuma1 && rm -rf /var/lib/apt/lists/*
COPY --from=build-runtime-cpu /opt/venv /opt/venv
COPY runtime /opt/stoker/runtime
USER 65532:65532
ENTRYPOINT ["python", "-m", "runtime"]

FROM base AS runtime-cuda
COPY --from=build-runtime-cuda /opt/venv /opt/venv
COPY runtime /opt/stoker/runtime
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
ENTRYPOINT ["python", "-m", "runtime"]
