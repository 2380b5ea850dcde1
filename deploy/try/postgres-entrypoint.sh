# Makes the database once, as the official image does, and becomes the server.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth=scram-sha-256 --encoding=UTF8 --locale=C >/dev/null
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    postgres -D "$PGDATA" -c listen_addresses= -k /tmp >/dev/null 2>&1 &
    until pg_isready -q -h /tmp; do sleep 0.2; done
    PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") createdb -h /tmp --username="$POSTGRES_USER" "$POSTGRES_DB"
    kill -INT $!
    wait
fi
exec "$@" -D "$PGDATA" -c listen_addresses='*' -k /tmp
