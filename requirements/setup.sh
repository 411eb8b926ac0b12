#!/usr/bin/env bash
# Builds the environment of one stack; `make setup` calls it.
#
#     requirements/setup.sh default .venv [PYTHON]
#
# Says in one line what is missing and exits with 2. The package index is the one that pip's own settings name.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stack=$1 venv=$2 asked=${3:-}
lock=requirements/$stack.txt
log=$venv/setup.log
need_gb=8  # 3.4 installed, 1.4 of downloads, and Spark unpacked twice while its wheel is built

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 2; }

# Prints the first Python from 3.10 to 3.12 that runs and can make environments. One that was asked for is not replaced.
choose_python() {
    local probe='import sys; print("%d.%d.%d" % sys.version_info[:3]); sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'
    local names=(python3.12 python3.11 python3.10 python3) name path version found="" bare=""
    [[ -z $asked ]] || names=("$asked")
    for name in "${names[@]}"; do
        while IFS= read -r path; do
            if [[ ${path%/*} -ef $venv/bin ]]; then
                continue  # about to be removed
            elif ! version=$("$path" -c "$probe" 2>/dev/null); then  # another version, or a shim of pyenv without its Python
                [[ -z $version || $found == *"$name is $version"* ]] || found+="${found:+, }$name is $version"
            elif ! "$path" -c "import ensurepip, venv" 2>/dev/null; then
                bare=${bare:-$path ($version)}
            else
                echo "$path"
                return
            fi
        done < <(type -aP "$name")
    done
    [[ -z $bare ]] || die "$bare cannot make environments: install its venv module (Debian, Ubuntu: apt install python3-venv)," \
        "or name another Python: make setup PYTHON=/path/to/python3.11"
    die "no Python 3.10 to 3.12 found: ${found:-${asked:-none on the PATH}${asked:+ does not run}};" \
        "install one, or name it: make setup PYTHON=/path/to/python3.11"
}

check_disk() {
    local free
    free=$(df -Pk "$(dirname "$venv")" | awk 'NR == 2 {print int($(NF - 2) / 1048576)}')
    ((free >= need_gb)) || die "$free GB of disk are free in $(cd "$(dirname "$venv")" && pwd), and set-up needs $need_gb: make room there"
}

# The entries of the lock file whose names fit the extended regular expression $1, or with $2 = not, the others.
locked() { awk -v names="^($1)==" -v other="${2:-}" '/^[^ ]/ {on = ($0 ~ names) == (other == "")} on' "$lock"; }

# Passes pip's output to the log, and now and then a line to the terminal: on a slow line this takes many minutes.
follow() {
    local line count=0
    while IFS= read -r line; do
        echo "$line"
        case $line in
        Collecting* | Processing*) ((++count % 25)) || say "  $count packages fetched, $SECONDS s" >&3 ;;
        Installing\ collected*) say "  all $count fetched, unpacking, $SECONDS s" >&3 ;;
        esac
    done >>"$log"
}

install_failed() {
    local error cause=""
    error=$(grep -E '^ *(ERROR:|OSError:|error:)' "$log" | tail -n 1) || error="pip ended"
    if [[ $error == *"No matching distribution"* ]]; then  # what pip says as well when it reached no index
        cause=$(sed -n "s/^WARNING: Retrying.* broken by '\(.*\)': .*/\1/p" "$log" | tail -n 1)
    fi
    die "could not install $lock: ${error#*ERROR: }${cause:+: ${cause##*>: }} (all of pip's output: $log); run it again when that is mended"
}

# pip builds Spark's source package, half a minute on one core, beside the download of all others.
install() {
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input)
    local locked_only=(--require-hashes --no-deps --no-build-isolation) tools='packaging|pip|setuptools|wheel'
    local tmp; tmp=$(cd "$venv" && pwd)/tmp
    mkdir -p "$tmp/wheels"
    export TMPDIR=$tmp  # on the disk that was checked, not in a small /tmp
    locked "$tools" >"$tmp/tools.txt"
    locked pyspark >"$tmp/spark.txt"
    locked "$tools|pyspark" not >"$tmp/others.txt"
    # a new pip first: it needs two thirds of the time of the one that comes with Python 3.11
    "${pip[@]}" install "${locked_only[@]}" -r "$tmp/tools.txt" >>"$log" 2>&1 || install_failed
    "${pip[@]}" wheel "${locked_only[@]}" --wheel-dir "$tmp/wheels" -r "$tmp/spark.txt" >>"$log" 2>&1 &
    # --no-compile: byte code is written when a module is first imported, and most never are
    "${pip[@]}" install "${locked_only[@]}" --no-compile -r "$tmp/others.txt" 2>&1 | follow || install_failed
    say "  Spark, $SECONDS s"
    wait $! || install_failed
    "${pip[@]}" install --no-deps --no-index --no-compile "$tmp"/wheels/*.whl >>"$log" 2>&1 || install_failed
    rm -rf "$tmp"
}

# Lets Spark's scripts run without `activate` and find Java, Python and quiet logging by themselves.
configure_spark() {
    local spark
    spark=$("$venv/bin/python" -c 'import importlib.util as u; print(u.find_spec("pyspark").submodule_search_locations[0])')
    mkdir -p "$spark/conf"
    cp -R conf/spark/. "$spark/conf/"
    # Spark leaves out the quotes that a folder with a space in its name needs
    sed -i.bak 's/^\( *\)\. \${SPARK_ENV_SH}$/\1. "${SPARK_ENV_SH}"/' "$spark/bin/load-spark-env.sh"
    # pip's copy of this script asks the first python3 on the PATH where Spark is
    echo 'export SPARK_HOME=${SPARK_HOME:-$(CDPATH= cd "$(dirname "${BASH_SOURCE[0]}")/.." && echo "$PWD"/lib/python3.*/site-packages/pyspark)}' \
        >"$venv/bin/find-spark-home"
}

exec 3>&1
rm -f "$venv/.ready"
if [[ "$(cat "$venv/installed.txt" 2>/dev/null)" != "$(cat "$lock")" ]]; then
    python=$(choose_python)
    rm -rf "$venv"
    check_disk
    say "$venv from $lock with $("$python" -V) ($python); the first time it downloads some 1.3 GB"
    "$python" -m venv "$venv"
    trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
    install
    cp "$lock" "$venv/installed.txt"
fi
configure_spark
touch "$venv/.ready"  # last: what has no stamp is not whole
say "$venv is ready, $SECONDS s"
