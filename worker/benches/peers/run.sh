#!/usr/bin/env bash
# This worker and others on Redis, with a job that does nothing: one process of each, as its project
# ships it, from the first job that it takes until none waits. Those that are not installed are left
# out: `apt-get install ruby-sidekiq`, `pip install arq rq celery[redis]`. `make peers` runs it.
set -euo pipefail
cd "$(dirname "$0")"
few=${1:-20000} many=${2:-500000}
root=$(realpath ../../..)
folder=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export REDIS_URL=redis://127.0.0.1:$port/0 PYTHONDONTWRITEBYTECODE=1
redis-server --port "$port" --save '' --dir "$folder" --daemonize yes --pidfile "$folder/redis.pid" >"$folder/redis.log"
worker=
stop() {
  [ -z "$worker" ] || { kill -9 -- "-$worker" && wait "$worker"; } 2>/dev/null || true
  worker=
}
trap 'stop; redis-cli -p "$port" shutdown nosave; rm -rf "$folder"' EXIT

# measure NAME LENGTH-COMMAND QUEUE WORKER...
measure() {
  local name=$1 length=("$2" "$3") jobs now began=
  shift 3
  jobs=$(redis-cli -p "$port" "${length[@]}")
  setsid "$@" >"$folder/$name.log" 2>&1 &
  worker=$!
  while now=$(redis-cli -p "$port" "${length[@]}") && [ "$now" -gt 0 ]; do
    kill -0 "$worker" 2>/dev/null || { echo "$name ended, with $now jobs waiting:"; tail -5 "$folder/$name.log"; exit 1; }
    # From the first job that is taken: what a process needs to start is not what is measured.
    [ -n "$began" ] || [ "$now" -ge "$jobs" ] || { began=$(date +%s%N) && jobs=$now; }
    sleep 0.01
  done
  awk -v name="$name" -v jobs="$jobs" -v ns="$(($(date +%s%N) - began))" \
    'BEGIN { printf "%-8s %8d jobs/s\n", name, jobs / ns * 1e9 }'
  stop
  redis-cli -p "$port" flushall >/dev/null
}

has() { python3 -c "import $1" 2>/dev/null; }

seq "$many" | sed 's/.*/{"n":&}/' | "$root/target/release/bridge" push - >/dev/null
measure bridge llen leads_to_enrich "$root/target/release/scrapegoat-worker" --pipeline "$root/assets/pipelines/noop.toml"
if command -v sidekiq >/dev/null; then
  ruby noop.rb "$few" 2>/dev/null
  measure sidekiq llen queue:default sidekiq -r ./noop.rb -c 10
fi
if has arq; then
  python3 noop.py arq "$few"
  measure arq zcard arq:queue python3 -m arq noop.ArqSettings
fi
if has rq; then
  python3 noop.py rq "$few"
  measure rq llen rq:queue:default python3 -m rq.cli worker --worker-class rq.SimpleWorker --url "$REDIS_URL" --quiet
fi
if has celery; then
  python3 noop.py celery "$few"
  measure celery llen celery python3 -m celery -A noop worker --pool threads --concurrency 10 --loglevel WARNING --without-gossip --without-mingle --without-heartbeat
fi
