#!/usr/bin/env bash
# A Docker daemon of one's own, where none runs: for `make containers` on a machine that is one's own.
#
#   deploy/dockerd.sh install     Docker, docker-compose and debootstrap from Debian or Ubuntu (root)
#   deploy/dockerd.sh start DIR   a daemon with all its data in DIR; returns when it answers
#   deploy/dockerd.sh stop DIR    stops it and removes its data
#
# `start` prints the DOCKER_HOST to use. There is no default bridge: builds use the host's network,
# compose makes networks of its own. What stays outside DIR: Docker's chains in iptables, and that the
# machine forwards packets between containers only (`iptables -P FORWARD ACCEPT` undoes it).
set -euo pipefail

fail() { echo "dockerd.sh: $*" >&2; exit 1; }

install_packages() {
  local wanted=() pair
  for pair in dockerd:docker.io docker-compose:docker-compose debootstrap:debootstrap iptables:iptables; do
    command -v "${pair%%:*}" >/dev/null || wanted+=("${pair#*:}")
  done
  [ ${#wanted[@]} -eq 0 ] && return
  [ "$(id -u)" -eq 0 ] || fail "missing: ${wanted[*]}; run as root: deploy/dockerd.sh install"
  command -v apt-get >/dev/null || fail "not a Debian or Ubuntu; install by hand: ${wanted[*]}"
  apt-get update -q >/dev/null 2>&1 || echo "apt-get update failed; trying what is known" >&2
  echo "installing ${wanted[*]}" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${wanted[@]}" \
    >/dev/null 2>&1 || fail "apt-get install ${wanted[*]} failed"
}

running() { [ -e "$1/dockerd.pid" ] && kill -0 "$(cat "$1/dockerd.pid")" 2>/dev/null; }

start() {
  local dir
  mkdir -p "$1"
  dir=$(cd "$1" && pwd)
  [ "$(id -u)" -eq 0 ] || fail "a daemon needs root"
  running "$dir" && fail "a daemon of $dir runs already, process $(cat "$dir/dockerd.pid")"
  setsid dockerd --data-root "$dir/data" --exec-root "$dir/exec" --host "unix://$dir/docker.sock" \
    --pidfile "$dir/dockerd.pid" --bridge none --log-level warn >"$dir/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 150); do
    DOCKER_HOST=unix://$dir/docker.sock docker version >/dev/null 2>&1 && break
    sleep 0.2
  done
  DOCKER_HOST=unix://$dir/docker.sock docker version >/dev/null 2>&1 \
    || { tail -n 5 "$dir/dockerd.log" >&2; fail "dockerd did not start; $dir/dockerd.log says why"; }
  echo "unix://$dir/docker.sock"
}

stop() {
  local dir
  [ -d "$1" ] || return 0
  dir=$(cd "$1" && pwd)
  if running "$dir"; then
    local process
    process=$(cat "$dir/dockerd.pid")
    kill "$process"
    for _ in $(seq 150); do
      kill -0 "$process" 2>/dev/null || break
      sleep 0.2
    done
    kill -0 "$process" 2>/dev/null && fail "process $process does not stop"
  fi
  rm -rf "$dir"
}

case "${1:-}" in
  install) install_packages ;;
  start | stop)
    [ $# -eq 2 ] || fail "usage: deploy/dockerd.sh $1 DIR"
    "$@"
    ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
