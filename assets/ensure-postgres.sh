#!/bin/sh
# Makes sure that PostgreSQL's programs are on this machine, for the tests: found, else installed.
set -eu

for folder in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin; do
    if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && [ -x "$folder/psql" ]; then
        exit 0
    fi
done

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if command -v apt-get >/dev/null; then
    echo "PostgreSQL is not installed; installing it with apt"
    # The package starts a server of its own on port 5432; the tests start theirs.
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql
elif command -v brew >/dev/null; then
    echo "PostgreSQL is not installed; installing it with brew"
    brew install postgresql@17
else
    echo "PostgreSQL is not installed, and there is neither apt nor brew to install it with." >&2
    echo "Install it; until then the tests of the postgres sink say SKIPPED." >&2
fi
