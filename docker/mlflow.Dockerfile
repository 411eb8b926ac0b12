# MLflow's server for a database and an object store; basic authentication where MLFLOW_AUTH=basic.
#
#     docker build -f docker/mlflow.Dockerfile -t glyphmill/mlflow .
#
# An own package index: --secret id=pip,src=pip.conf
FROM debian:bookworm-slim AS packages
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/glyphmill
COPY requirements/mlflow.txt requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --no-compile --only-binary :all: --require-hashes --no-deps -r requirements/mlflow.txt \
    && rm -rf .venv/lib/python3.11/site-packages/pip .venv/lib/python3.11/site-packages/pip-*.dist-info .venv/bin/pip*

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 10001 --user-group --create-home --home-dir /work glyphmill
COPY --from=packages /opt/glyphmill/.venv /opt/glyphmill/.venv
COPY docker/mlflow-entrypoint.sh docker/health.py docker/bucket.py /opt/glyphmill/docker/
ENV PATH=/opt/glyphmill/.venv/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /work
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "/opt/glyphmill/docker/health.py", "5000", "/health"]
ENTRYPOINT ["/opt/glyphmill/docker/mlflow-entrypoint.sh"]
