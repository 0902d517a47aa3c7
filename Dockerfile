# Quintet's two images, from one file; BuildKit builds only what is asked for:
#
#   docker build --target ring  -t quintet-ring .     serve, aggregate, console, simulate, policies
#   docker build --target train -t quintet-train .    the same and torch: train, pretrain
#
# Both run as a user without a name for anybody else, on a root file system that is read-only; what
# they write goes to two folders meant to be volumes: /var/lib/quintet, everything Quintet keeps, and
# /var/cache/quintet, the compiled serving kernels. They listen beyond loopback, so they refuse to
# start without QUINTET_API_KEYS.

FROM python:3.11-slim AS base
ENV PATH=/opt/quintet/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/var/cache/quintet \
    QUINTET_DATA_DIR=/var/lib/quintet \
    QUINTET_HOST=0.0.0.0 \
    HEALTH_URL=http://127.0.0.1:8080/readyz
RUN groupadd --gid 10001 quintet \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin quintet \
    && install -d -o quintet -g quintet -m 0700 /var/lib/quintet /var/cache/quintet

# What builds, at the versions and with the hashes of the lock; none of it is in an image.
FROM base AS tools
WORKDIR /build
COPY requirements.lock ./
RUN sed -n '/^\(setuptools\|uv\)==/,/# via/p' requirements.lock >tools.lock \
    && python -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir --disable-pip-version-check --quiet \
         --require-hashes -r tools.lock

FROM tools AS wheel
COPY . .
RUN /opt/tools/bin/uv build --quiet --wheel --no-build-isolation --python /opt/tools/bin/python \
      --out-dir /opt/wheel .

# The part of pyproject.toml that says what is needed: the rest may change without a new download.
FROM base AS needs
COPY pyproject.toml /build/
COPY requirements.lock /opt/needs/
RUN sed '/^\[project.scripts\]/,$d' /build/pyproject.toml >/opt/needs/pyproject.toml

# The lock as constraints: only what these extras need is installed, each file checked by its hash,
# and a package that the lock does not have is refused.
FROM base AS dependencies
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    --mount=type=bind,from=needs,source=/opt/needs,target=/opt/needs \
    /opt/tools/bin/uv venv --quiet --python "$(command -v python)" /opt/quintet \
    && /opt/tools/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/quintet \
         --require-hashes --constraints /opt/needs/requirements.lock \
         --requirements /opt/needs/pyproject.toml --extra console --extra simulator \
    && find /opt/quintet/lib -type d -name tests -prune -exec rm -rf {} +

FROM dependencies AS torch
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    --mount=type=bind,from=needs,source=/opt/needs,target=/opt/needs \
    /opt/tools/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/quintet \
      --require-hashes --constraints /opt/needs/requirements.lock \
      --requirements /opt/needs/pyproject.toml --extra console --extra simulator --extra train

# The serving kernels, compiled so that no server compiles for a minute when it starts. They are for
# this processor: on a volume those of another one are compiled once and kept. numba knows a kernel by
# the path and the content of its source, so the sources stand here where the wheel will put them.
FROM dependencies AS kernels
COPY schemas /opt/quintet/lib/python3.11/site-packages/schemas
COPY policy /opt/quintet/lib/python3.11/site-packages/policy
RUN python -c 'from policy.serving import prepare; prepare()'

FROM dependencies AS ring
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    --mount=type=bind,from=wheel,source=/opt/wheel,target=/opt/wheel \
    /opt/tools/bin/uv pip install --quiet --no-cache --compile-bytecode --no-deps \
      --python /opt/quintet /opt/wheel/*.whl
COPY --from=kernels --chown=10001:10001 /var/cache/quintet /var/cache/quintet
USER 10001:10001
WORKDIR /var/lib/quintet
VOLUME ["/var/lib/quintet", "/var/cache/quintet"]
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \
  CMD ["python", "-S", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["quintet"]
CMD ["serve"]

FROM torch AS train
RUN --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    --mount=type=bind,from=wheel,source=/opt/wheel,target=/opt/wheel \
    /opt/tools/bin/uv pip install --quiet --no-cache --compile-bytecode --no-deps \
      --python /opt/quintet /opt/wheel/*.whl
COPY --from=kernels --chown=10001:10001 /var/cache/quintet /var/cache/quintet
USER 10001:10001
WORKDIR /var/lib/quintet
VOLUME ["/var/lib/quintet", "/var/cache/quintet"]
ENV HEALTH_URL=http://127.0.0.1:9090/metrics \
    QUINTET_METRICS_PORT=9090
EXPOSE 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \
  CMD ["python", "-S", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["quintet"]
CMD ["train"]
