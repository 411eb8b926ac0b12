#!/usr/bin/env bash
# The cluster of compose.yaml: docker/cluster.sh up | demo | down
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Passwords of this cluster alone, made once. Nobody else can read the file, and git ignores it.
new_environment() {
    local name
    umask 077
    for name in POSTGRES_PASSWORD S3_ACCESS_KEY S3_SECRET_KEY MLFLOW_PASSWORD MLFLOW_SECRET_KEY; do
        echo "$name=$(head -c 18 /dev/urandom | od -An -tx1 | tr -d ' \n')"
    done >.env.new
    printf 'MLFLOW_USERNAME=admin\nMLFLOW_AUTH=none\n' >>.env.new
    mv .env.new .env
}

at_store() { echo "s3://glyphmill/$1?endpoint_override=http://store:7070&region=us-east-1"; }

demo() {
    local submit=(docker compose run --rm driver spark-submit --master spark://master:7077) job=/opt/glyphmill/jobs
    local images shards
    images=$(at_store images) shards=$(at_store shards)
    "${submit[@]}" "$job/generate.py" --output "$images" --count 5000 --length 4-5 --size 160x60
    "${submit[@]}" "$job/ingest.py" --input "$images" --output "$shards" --config /opt/glyphmill/conf/ingest/default.yaml
    docker compose --profile train up --exit-code-from trainer-0 trainer-0 trainer-1
    docker compose run --rm reader python -m jobs.evaluate --model models:/glyphmill@champion --dataset "$shards" --split test
    "${submit[@]}" "$job/predict_batch.py" --model models:/glyphmill@champion --input "$images" --output "$(at_store read)"
    docker compose run --rm reader python -m jobs.predict --model models:/glyphmill@champion --draw 24 --grid /tmp/drawn.png
}

case ${1:-} in
up)
    [[ -f .env ]] || new_environment
    docker compose --profile driver --profile train build
    docker compose up --detach --wait
    docker compose run --rm bucket
    ;;
demo) demo ;;
down) docker compose --profile '*' down ${VOLUMES:+--volumes} ;;
*) sed -n 's/^# //p' "$0" | head -n 1 >&2 && exit 2 ;;
esac
