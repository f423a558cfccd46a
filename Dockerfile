# The router in a container: docs/installing.md says how it is started.
#
#   docker build --tag router .                       llama.cpp's server, for GGUF models on the CPU
#   docker build --target cuda --tag router:cuda .    and vLLM, for NVIDIA GPUs (several GB)
#
# The router is process 1, and needs no init for that: launchers/init.py reaps what is left, and passes signals on.

ARG PYTHON=3.13-slim-trixie

# ---- the hot path is compiled here, and everything installed into /opt/router -----------------------------------------

FROM python:${PYTHON} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY constraints.txt ./
RUN pip install --no-cache-dir --root-user-action=ignore -c constraints.txt setuptools mypy msgspec
COPY . ./
# 0 compiles in a minute, and runs at half the speed: for trying this file.
ARG ROUTER_OPTIMISE=3
RUN ROUTER_COMPILED=1 ROUTER_OPTIMISE="${ROUTER_OPTIMISE}" pip wheel --no-cache-dir --no-deps --no-build-isolation -w /wheels . \
    && python -m venv /opt/router \
    && /opt/router/bin/pip install --no-cache-dir -c constraints.txt "$(echo /wheels/*.whl)[llama-server]"

FROM build AS build-cuda
# vLLM says which versions of its own needs it takes.
RUN /opt/router/bin/pip install --no-cache-dir "$(echo /wheels/*.whl)[llama-server,nvidia,vllm]"

# ---- what both images have --------------------------------------------------------------------------------------------

FROM python:${PYTHON} AS base
RUN useradd --system --uid 10001 --user-group --create-home --home-dir /var/lib/router router
# From outside the container's own network comes every client, so router.yaml must say who may ask: auth.keys.
ENV PATH="/opt/router/bin:${PATH}" \
    HOME=/var/lib/router \
    ROUTER_SERVER__HOST=0.0.0.0
WORKDIR /var/lib/router
EXPOSE 8001
# Of the process, not of its models: one that loads a large model is well.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('ROUTER_SERVER__PORT', '8001') + '/health', timeout=4)"]
ENTRYPOINT ["router"]

# ---- the images -------------------------------------------------------------------------------------------------------

FROM base AS cuda
# The driver comes from the host (NVIDIA's container toolkit), CUDA with vLLM. Triton, of vLLM, compiles at its first start.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/router /opt/router
USER 10001

FROM base AS cpu
COPY --from=build /opt/router /opt/router
USER 10001
