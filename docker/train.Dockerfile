# The trainer, for CPUs; with --build-arg LOCK=train-gpu for NVIDIA GPUs (and `docker run --gpus all`).
#
#     docker build -f docker/train.Dockerfile -t glyphmill/train .
#     docker build -f docker/train.Dockerfile -t glyphmill/train-gpu --build-arg LOCK=train-gpu .
#
# An own package index: --secret id=pip,src=pip.conf
FROM debian:bookworm-slim AS packages
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/glyphmill
ARG LOCK=train
COPY requirements/${LOCK}.txt requirements/
# TensorFlow's headers, 440 MB, are for building operators
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --no-compile --only-binary :all: --require-hashes --no-deps -r "requirements/${LOCK}.txt" \
    && rm -rf .venv/lib/python3.11/site-packages/tensorflow/include \
        .venv/lib/python3.11/site-packages/pip .venv/lib/python3.11/site-packages/pip-*.dist-info .venv/bin/pip*

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 10001 --user-group --create-home --home-dir /work glyphmill \
    && install -d -o glyphmill -g glyphmill /checkpoints /work/.cache
COPY --from=packages /opt/glyphmill/.venv /opt/glyphmill/.venv
# glibc's two: as the Makefile has them, so that a training need not start itself again
ENV PATH=/opt/glyphmill/.venv/bin:$PATH PYTHONPATH=/opt/glyphmill PYTHONUNBUFFERED=1 AWS_EC2_METADATA_DISABLED=true \
    MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_MMAP_THRESHOLD_=4294967296
COPY docker/training-health.py /opt/glyphmill/docker/
COPY conf /opt/glyphmill/conf
COPY pipelines /opt/glyphmill/pipelines
COPY model /opt/glyphmill/model
COPY jobs /opt/glyphmill/jobs
USER 10001
WORKDIR /work
EXPOSE 2222
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["python", "/opt/glyphmill/docker/training-health.py"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "jobs.train", "--help"]
