#!/bin/sh
# Makes the secrets that compose.yaml names, once: `sh deploy/make-secrets.sh [FOLDER]`. Existing files stay as they are.
# The folder is closed to other users of this machine; inside it the files are readable, for the containers' users.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder/flows"
chmod 700 "$folder"
chmod 755 "$folder/flows"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
secret() { # NAME VALUE
    [ -s "$folder/$1" ] || printf '%s' "$2" > "$folder/$1"
    chmod 444 "$folder/$1"
}

secret postgres_password "$(random)"
secret store_url "postgresql://imageflow:$(cat "$folder/postgres_password")@postgres/imageflow"
secret rabbitmq_password "$(random)"
secret rabbitmq_user "default_user = imageflow
default_pass = $(cat "$folder/rabbitmq_password")
"
secret broker_url "amqp://imageflow:$(cat "$folder/rabbitmq_password")@rabbitmq/"
for account in scheduler reader transformer writer gateway; do
    secret "store_url_$account" "postgresql://imageflow_$account:$(random)@postgres/imageflow"
    secret "broker_url_$account" "amqp://imageflow_$account:$(random)@rabbitmq/"
done
secret broker_url_erp "amqp://erp:$(random)@rabbitmq/" # may publish to the outbound exchange, and nothing else
secret secret_key "$(random)"
secret flows/demo_password demo # the emulators' password, in demo/demo.yaml
echo "secrets are in $folder; put those of your flows into $folder/flows, chmod 444"
