#!/bin/sh
# Writes into deploy/.env, by digest, the images that compose.yaml would take by tag: `sh deploy/pin-images.sh`. A tag may
# become another image; a digest never does. Run it again to take newer ones, then build and roll as in docs/operations.md.
set -eu
file=${1:-$(dirname "$0")/.env}
touch "$file"

pin() { # VARIABLE IMAGE
    docker pull --quiet "$2" >/dev/null
    digest=$(docker image inspect --format '{{index .RepoDigests 0}}' "$2")
    grep -v "^$1=" "$file" > "$file.new" || true
    echo "$1=$digest" >> "$file.new"
    mv "$file.new" "$file"
    echo "$2 is $digest"
}

pin IMAGEFLOW_BASE python:3.11-slim-bookworm
pin RABBITMQ_IMAGE rabbitmq:3.13-management
pin POSTGRES_IMAGE postgres:16
pin PROXY_IMAGE nginx:1.28
