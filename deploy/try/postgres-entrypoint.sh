# Makes the database once, as the official image does, and becomes the server.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --encoding=UTF8 --locale=C \
        --auth-local=trust --auth-host=scram-sha-256 >/dev/null
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    postgres -D "$PGDATA" -c listen_addresses= >/dev/null 2>&1 &
    until pg_isready -q; do sleep 0.2; done
    createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    kill -INT $!
    wait
fi
exec "$@" -D "$PGDATA" -c listen_addresses='*'
