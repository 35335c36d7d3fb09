#!/bin/sh
# Makes sure that a redis-server (or valkey-server) is on the PATH: found, else installed.
set -eu

if command -v redis-server >/dev/null || command -v valkey-server >/dev/null; then
    exit 0
fi

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if command -v apt-get >/dev/null; then
    echo "redis-server is not installed; installing it with apt"
    # The package starts a server of its own on port 6379; the tests start theirs.
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server
elif command -v brew >/dev/null; then
    echo "redis-server is not installed; installing it with brew"
    brew install redis
else
    echo "redis-server is not installed, and there is neither apt nor brew to install it with." >&2
    echo "Install Redis 6.2 or newer, or Valkey, and run this again." >&2
    exit 1
fi
