#!/usr/bin/env bash
# What a container of the Spark image does: one of Spark's roles, or any command.
#
#     master [OPTION ...]                 the standalone master, at port 7077 and its page at 8080
#     worker spark://HOST:7077 [OPTION]   a standalone worker; SPARK_WORKER_CORES and SPARK_WORKER_MEMORY limit it
#     driver | executor                   what Spark on Kubernetes starts
#     health                              ends with 0 where the role of this container answers
set -euo pipefail

role=${1:-}
case $role in
master)
    exec spark-class org.apache.spark.deploy.master.Master --host "${SPARK_MASTER_HOST:-$(hostname)}" --port 7077 --webui-port 8080 "${@:2}"
    ;;
worker)
    exec spark-class org.apache.spark.deploy.worker.Worker --host "$(hostname -i | cut -d' ' -f1)" --webui-port 8081 "${@:2}"
    ;;
driver)  # spark-submit in cluster mode has set the address of this pod
    exec spark-submit --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" --deploy-mode client "${@:2}"
    ;;
executor)  # as the entry script of Apache's own image does
    options=()
    while IFS='=' read -r -d '' name value; do
        [[ $name != SPARK_JAVA_OPT_* ]] || options+=("$value")
    done < <(env -0)
    exec "$JAVA_HOME/bin/java" "${options[@]}" -Xms"$SPARK_EXECUTOR_MEMORY" -Xmx"$SPARK_EXECUTOR_MEMORY" \
        -cp "${SPARK_CLASSPATH:-}:$SPARK_HOME/jars/*:$SPARK_HOME/conf" org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
        --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
        --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" \
        --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME"
    ;;
health)
    case $(tr '\0' ' ' </proc/1/cmdline) in
    *" master"*) exec python /opt/glyphmill/docker/health.py 8080 /json/ ;;
    *" worker"*) exec python /opt/glyphmill/docker/health.py 8081 /json/ ;;
    esac  # a driver or an executor: Spark itself watches it
    ;;
*)
    exec "$@"
    ;;
esac
