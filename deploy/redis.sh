#!/usr/bin/env bash
# One Redis for histories, on this machine only.
#
#   deploy/redis.sh run DIR [PORT]    on 127.0.0.1:PORT (6379) in the foreground, data in DIR
#   deploy/redis.sh start DIR [PORT]  the same in the background; returns when it answers
#   deploy/redis.sh stop DIR          stops the one that `start` left running
#
# Redis comes with Debian and Ubuntu (apt-get install redis-server, or deploy/setup-system.sh). What
# it holds is rebuilt from the log, so nothing is lost with it: it need not write to disk.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)

fail() { echo "redis.sh: $*" >&2; exit 1; }

running() { [ -e "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }

run() {
  command -v redis-server >/dev/null || fail "Redis is missing; run deploy/setup-system.sh"
  mkdir -p "$1"
  exec redis-server --bind 127.0.0.1 --port "${2:-6379}" --dir "$1" --save "" --appendonly no
}

start() {
  running "$1" && fail "a Redis of $1 runs already, process $(cat "$1/pid")"
  mkdir -p "$1"
  "$here/redis.sh" run "$@" >"$1/redis.log" 2>&1 &
  echo $! >"$1/pid"
  for _ in $(seq 100); do
    redis-cli -p "${2:-6379}" ping >/dev/null 2>&1 && return
    running "$1" || break
    sleep 0.1
  done
  tail -n 5 "$1/redis.log" >&2
  fail "Redis did not start; $1/redis.log says why"
}

stop() {
  running "$1" || return 0
  kill "$(cat "$1/pid")"
  for _ in $(seq 100); do
    running "$1" || { rm -f "$1/pid"; return 0; }
    sleep 0.1
  done
  fail "process $(cat "$1/pid") does not stop"
}

case "${1:-}" in
  run | start | stop)
    [ $# -ge 2 ] || fail "usage: deploy/redis.sh $1 DIR [PORT]"
    "$@"
    ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
