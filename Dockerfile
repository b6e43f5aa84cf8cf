# The image of taskroll: the worker by default, the update endpoint and the deploy tool by another entry point:
#
#   docker build -t taskroll:0.1.0 .
#   docker run --rm --entrypoint taskroll taskroll:0.1.0 --help
#
# The Python release is the one that the test suite runs on.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Every file is checked against the lock's hashes here; what follows has no index to ask, so nothing else gets in.
COPY requirements.lock ./
RUN pip download --quiet --require-hashes --only-binary=:all: --no-deps --requirement requirements.lock --dest /build/wheels
COPY pyproject.toml README.md LICENSE ./
COPY agent ./agent
COPY taskroll ./taskroll
COPY workflows ./workflows
COPY activities ./activities
COPY worker ./worker
COPY starter ./starter
COPY deploy ./deploy
RUN pip wheel --quiet --no-index --find-links /build/wheels --no-deps --wheel-dir /build/wheels ./agent .
# The lock holds the tools of development too; only what taskroll itself requires is installed of it.
RUN python -m venv --without-pip /opt/taskroll \
    && pip --python /opt/taskroll/bin/python install --quiet --no-index --find-links /build/wheels taskroll

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 taskroll \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin taskroll
COPY --from=build /opt/taskroll /opt/taskroll
ENV PATH=/opt/taskroll/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 9090
ENTRYPOINT ["taskroll-worker"]
