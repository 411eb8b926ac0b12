#!/usr/bin/env bash
# Starts MLflow's server as the environment says; another command is run as it is.
#
# MLFLOW_BACKEND_STORE_URI, MLFLOW_ARTIFACTS_DESTINATION  the database and the place of artifacts, as MLflow reads them
# MLFLOW_SERVER_ALLOWED_HOSTS                             the names that clients may call this server by, with port
# MLFLOW_AUTH=basic                                       asks for a name and a password; MLFLOW_AUTH_ADMIN_PASSWORD is the first one
# MLFLOW_WORKERS                                          processes of the server (default 2)
set -euo pipefail

if (($#)); then
    exec "$@"
fi
: "${MLFLOW_BACKEND_STORE_URI:?the database, such as postgresql+psycopg2://user:password@host/name}"
: "${MLFLOW_ARTIFACTS_DESTINATION:?the place of artifacts, such as s3://bucket/folder}"
options=(--host 0.0.0.0 --port 5000 --workers "${MLFLOW_WORKERS:-2}" --serve-artifacts)
if [[ ${MLFLOW_AUTH:-none} == basic ]]; then
    : "${MLFLOW_AUTH_ADMIN_PASSWORD:?basic authentication needs a first password, of 12 characters or more}"
    : "${MLFLOW_FLASK_SERVER_SECRET_KEY:?basic authentication needs a key for its forms: any long random text}"
    export MLFLOW_AUTH_CONFIG_PATH=/tmp/mlflow-auth.ini
    umask 077
    # users in the same database, in tables of their own; the first password stays in the environment
    database=${MLFLOW_BACKEND_STORE_URI//%/%%}
    printf '[mlflow]\ndefault_permission = READ\ndatabase_uri = %s\nadmin_username = admin\n' "$database" >"$MLFLOW_AUTH_CONFIG_PATH"
    options+=(--app-name basic-auth)
fi
exec mlflow server "${options[@]}"
