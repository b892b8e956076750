#   docker build -t asr-server .                                    for CPUs
#   docker build -t asr-server:cuda --build-arg VARIANT=cuda .      for an NVIDIA GPU
#
# A GPU host needs NVIDIA's driver and container toolkit; PyTorch contains CUDA itself.
# Mirrors: --build-arg PYTHON_IMAGE=... PIP_INDEX_URL=... TORCH_INDEX_URL=..., see docs/INSTALL.md.
# Docker 25 or later needs no `# syntax` line, which would be one more image from Docker Hub.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS python
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore \
    PIP_NO_CACHE_DIR=1

# The packages change rarely and are nearly all of the size: a stage and a layer of their own.
FROM python AS packages
ARG VARIANT=cpu
ARG PIP_INDEX_URL=https://pypi.org/simple
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
WORKDIR /build
RUN python -m venv --without-pip /opt/asr-server
COPY requirements.lock requirements-torch.lock requirements-dev.lock ./
# PyPI's torch is the CUDA build; the CPU build comes from PyTorch's index. psycopg is for vocabularies
# in PostgreSQL. torch's headers and tests are not needed at run time.
RUN sed -n '/^psycopg/,/[^\\]$/p' requirements-dev.lock > requirements-postgres.lock \
    && pip --python /opt/asr-server install --no-deps -r requirements.lock -r requirements-postgres.lock \
    && case "$VARIANT" in \
        cpu) pip --python /opt/asr-server install --no-deps --index-url "$TORCH_INDEX_URL" \
            -r requirements-torch.lock ;; \
        cuda) pip --python /opt/asr-server install -r requirements-torch.lock ;; \
        *) echo "VARIANT is cpu or cuda, not $VARIANT" >&2; exit 1 ;; \
    esac \
    && rm -rf /opt/asr-server/lib/python3*/site-packages/torch/include \
        /opt/asr-server/lib/python3*/site-packages/torch/test

FROM python AS wheel
ARG PIP_INDEX_URL=https://pypi.org/simple
WORKDIR /build
COPY pyproject.toml setup.py README.md LICENSE NOTICE requirements.lock ./
COPY clients/web clients/web
COPY tests/data tests/data
COPY src src
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements.lock > setuptools.lock \
    && pip install --no-deps -r setuptools.lock \
    && pip wheel --no-deps --no-build-isolation --wheel-dir /dist .

FROM python AS server
ARG VERSION=unreleased
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title="asr-server" \
    org.opencontainers.image.description="Real-time Mandarin speech recognition for DashScope clients" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.base.name="${PYTHON_IMAGE}"

# A numeric user, so that Kubernetes can verify that it is not root. An empty volume inherits the owner
# of the directory it is mounted on.
RUN groupadd --gid 10001 asr \
    && useradd --uid 10001 --gid asr --no-create-home --home-dir /data --shell /usr/sbin/nologin asr \
    && install -d -o asr -g asr /models /data
COPY --from=packages /opt/asr-server /opt/asr-server
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip --python /opt/asr-server install --no-cache-dir --no-deps --no-index /dist/*.whl
COPY --chmod=755 deploy/docker/entrypoint.sh deploy/docker/healthcheck.py /usr/local/bin/

ENV PATH=/opt/asr-server/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ASR_HOST=0.0.0.0 \
    ASR_MODEL_DIR=/models \
    ASR_DATABASE_URL=sqlite:////data/asr_server.sqlite3
USER 10001:10001
WORKDIR /data
VOLUME ["/models", "/data"]
EXPOSE 8000

# /readyz, not /healthz: proxies and dependent services wait for "healthy". A lost device is restarted,
# so the container becomes unhealthy after a minute only. Loading takes seconds, a download at the first
# start takes minutes.
HEALTHCHECK --start-period=15m --start-interval=2s --interval=10s --timeout=5s --retries=6 \
    CMD ["python", "-IS", "/usr/local/bin/healthcheck.py"]

# On SIGTERM the server drains; `docker stop` kills it after 10 s unless given another timeout.
STOPSIGNAL SIGTERM
ENTRYPOINT ["entrypoint.sh"]
CMD ["serve"]
