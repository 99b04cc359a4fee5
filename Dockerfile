# Two images from one file: `service`, the last stage and so the default, answers; `training` publishes a model version.
#
#   docker build -t mnist-mlp .
#   docker run --rm -p 8000:8000 --read-only --tmpfs /tmp mnist-mlp
#   docker build -t mnist-mlp-training --target training .

FROM python:3.13-slim-trixie AS base
WORKDIR /app
# Without a pip of its own: the base image's installs into it.
RUN python -m venv --without-pip /opt/venv


FROM base AS serving-build
# `--build-arg EXTRAS="otel s3"`: what is optional, by the names of the locks. Without it, the image has what serving needs.
ARG EXTRAS=
COPY requirements/serving.txt requirements/extras/ requirements/
RUN for lock in serving $EXTRAS; do python -m pip --python /opt/venv/bin/python install \
    --no-cache-dir --require-hashes --only-binary :all: -r "requirements/$lock.txt" || exit; done
COPY service/ service/
COPY models/ /models/
# Bytecode is made here because a read-only root can't keep it; modes are set because a checkout's umask may be strict.
RUN python -m compileall -q service && chmod -R a+rX,go-w /app /models


FROM base AS training
# PyTorch's build is the machine's choice: PyPI's has CUDA; PIP_EXTRA_INDEX_URL may name PyTorch's index of CPU builds.
ARG PIP_EXTRA_INDEX_URL
COPY requirements/torch.txt requirements/training.txt requirements/
RUN python -m pip --python /opt/venv/bin/python install --no-cache-dir -r requirements/torch.txt \
    && python -m pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes -r requirements/training.txt
# The service comes along because training may measure with its geometry; the other direction stays shut.
COPY service/ service/
COPY training/ training/
# Any user may run it (the one who owns the mounted models/), what it fetches is kept where a volume is on /cache, and
# the facts of a run go below /tmp, which is writable with a read-only root too.
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp PYTHONPATH=/app XDG_CACHE_HOME=/cache
RUN python -m compileall -q service training && chmod -R a+rX,go-w /app && mkdir -m 1777 /cache /models
WORKDIR /tmp
LABEL org.opencontainers.image.title="mnist-mlp-training" \
      org.opencontainers.image.description="Trains MNIST into an MLP and publishes a verified version below /models."
USER 10001:10001
ENTRYPOINT ["python", "-m", "training", "--models-dir", "/models"]


FROM base AS service
COPY --from=serving-build /opt/venv /opt/venv
COPY --from=serving-build /app/service service
# The committed versions, so that the image answers by itself; a folder of versions mounted on /models takes its place.
COPY --from=serving-build /models /models
# A new volume on /cache takes the folder's mode, so that the service may keep the versions there that it pulls.
RUN mkdir -m 1777 /cache
# One worker in a container: replicas scale it, and then each has its own limits, health and /metrics. It drains for as
# long as an orchestrator may need to tell everyone that it ends.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    MNIST_HOST=0.0.0.0 \
    MNIST_MODEL_DIR=/models/mnist-mlp \
    MNIST_WORKERS=1 \
    MNIST_LOG_FORMAT=json \
    MNIST_DRAIN_SECONDS=5
EXPOSE 8000
# A number, so that an orchestrator can see without a passwd file that it isn't root.
USER 10001:10001
STOPSIGNAL SIGTERM
# http.client, because urllib would ask the proxy of the environment for 127.0.0.1. The certificate is not verified, because
# it is for another name. MNIST_PORT=tcp://… is a variable of Kubernetes, which the service ignores too.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["python", "-c", "\
import http.client, os, ssl, sys; \
ports = (os.environ.get('MNIST_PORT'), os.environ.get('PORT'), '8000'); \
port = int(next(port for port in ports if port and '://' not in port)); \
tls = os.environ.get('MNIST_TLS_CERT_FILE'); \
unverified = {'context': ssl._create_unverified_context()} if tls else {}; \
connection = http.client.HTTPSConnection if tls else http.client.HTTPConnection; \
ready = connection('127.0.0.1', port, timeout=2, **unverified); \
ready.request('GET', '/readyz'); \
sys.exit(ready.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "service"]
# Last, so that another version or revision reuses every layer above.
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mnist-mlp" \
      org.opencontainers.image.description="Pictures of handwritten digits in, digits out." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
