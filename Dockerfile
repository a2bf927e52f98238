# The API: it serves, leases and records, and has neither torch nor a DICOM decoder inside; workers have (Dockerfile.gpu).
FROM debian:bookworm-slim AS builder
# Where packages come from is the builder's affair: docker build --build-arg PIP_INDEX_URL=...
ARG PIP_INDEX_URL=""
ARG PIP_EXTRA_INDEX_URL=""
ARG PIP_CERT=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements.build.lock ./
RUN python3 -m venv tools && tools/bin/pip install --require-hashes --no-deps -r requirements.build.lock
# The image's own environment has no installer in it.
COPY requirements.api.lock ./
RUN python3 -m venv --without-pip /opt/nextslice \
    && tools/bin/pip --python /opt/nextslice/bin/python install --require-hashes --no-deps -r requirements.api.lock
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY worker worker
COPY app app
# Into a folder of its own: a new version of the service is then a small layer over the same packages.
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && tools/bin/pip --python /opt/nextslice/bin/python install --no-deps --no-index --prefix /opt/service dist/*.whl

FROM debian:bookworm-slim
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin nextslice \
    && install -d -o nextslice -g nextslice /data
COPY --from=builder /opt/nextslice /opt/nextslice
COPY --from=builder /opt/service /opt/nextslice
ENV PATH=/opt/nextslice/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NEXTSLICE_HOME=/data
USER nextslice
WORKDIR /data
VOLUME /data
EXPOSE 8000
CMD ["nextslice", "up", "--no-workers", "--no-demo", "--host", "0.0.0.0"]
