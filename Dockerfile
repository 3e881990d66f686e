# The image of kuma-sync: what runs is the wheel and the locked requirements, nothing else.
#
#   docker build -t kuma-sync .          or: podman build --format docker -t kuma-sync .
#
# Another base with Python >= 3.11, or this one pinned by its digest: --build-arg PYTHON_IMAGE=…
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements.lock requirements-dev.lock ./
RUN python -m venv /opt/kuma-sync \
 && /opt/kuma-sync/bin/pip install --no-compile --require-hashes -r requirements.lock
# What builds the wheel is held to its lock as well; it stays behind in this stage.
RUN awk '/^[a-z]/ { wanted = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } wanted' requirements-dev.lock > build.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r build.lock
COPY deploy/slim.sh deploy/
COPY pyproject.toml README.md config.example.toml ./
COPY migrations migrations
COPY kuma_sync kuma_sync
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /opt/kuma-sync/bin/pip install --no-compile --no-deps --no-index /wheel/*.whl \
 && deploy/slim.sh /opt/kuma-sync/lib/python3*/site-packages \
 && rm /opt/kuma-sync/bin/pip* \
 && /opt/kuma-sync/bin/python -m compileall -q -j 0 /opt/kuma-sync/lib

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="kuma-sync" \
      org.opencontainers.image.description="One IRP incident per Kaspersky KUMA alert, kept true to it"
RUN groupadd --gid 10001 kuma-sync \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin kuma-sync \
 && install -d -m 0755 /etc/kuma-sync \
 && install -d -m 0700 -o 10001 -g 10001 /data
COPY --from=build /opt/kuma-sync /opt/kuma-sync
COPY deploy/container.sh /usr/local/bin/kuma-sync-container
# A checkout that was made under a strict umask gives it to root alone.
RUN chmod 0755 /usr/local/bin/kuma-sync-container
# A relative store.url lies in the volume.
ENV PATH=/opt/kuma-sync/bin:$PATH \
    STATE_DIRECTORY=/data \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8484
STOPSIGNAL SIGTERM
# Alive, not ready: a KUMA or an IRP that is down must not restart us.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["kuma-sync", "health", "--live"]
ENTRYPOINT ["kuma-sync"]
CMD ["run"]
