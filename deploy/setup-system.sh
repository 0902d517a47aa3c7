#!/usr/bin/env bash
# Installs the system packages Quintet's tests need and this machine lacks: Redis, Java and Maven for
# the Kafka broker, openssl for its certificates, Chromium. Debian and Ubuntu, as root or with
# passwordless sudo. Quintet itself runs without them, so this never fails: it says what is missing
# and which tests that skips.
set -uo pipefail

packages=()
want() { # COMMAND PACKAGE...: the first package this system knows, where the command is missing
  command -v "$1" >/dev/null && return
  wanted+=("$*")
}

warn() { echo "setup-system: $*" >&2; }

missing() {
  local entry
  for entry in "${wanted[@]}"; do
    command -v "${entry%% *}" >/dev/null || echo "${entry%% *}"
  done
}

wanted=()
want redis-server redis-server
want java openjdk-17-jre-headless default-jre-headless
want mvn maven
want openssl openssl
want chromium chromium chromium-browser
[ ${#wanted[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  warn "not a Debian or Ubuntu; install by hand: $(missing | paste -sd ' ')"
  exit 0
fi
if [ "$(id -u)" -eq 0 ]; then
  root=()
elif sudo -n true 2>/dev/null; then
  root=(sudo -n)
else
  warn "some tests will be skipped without: $(missing | paste -sd ' ')"
  warn "run as root: deploy/setup-system.sh"
  exit 0
fi

"${root[@]}" apt-get update -q >/dev/null 2>&1 || warn "apt-get update failed; trying what is known"
for entry in "${wanted[@]}"; do
  # shellcheck disable=SC2086 # a list of names
  set -- $entry
  shift
  for name in "$@"; do
    if apt-cache show "$name" >/dev/null 2>&1; then
      packages+=("$name")
      break
    fi
  done
done
if [ ${#packages[@]} -gt 0 ]; then
  echo "setup-system: installing ${packages[*]}" >&2
  output=$("${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${packages[@]}" 2>&1) \
    || warn "apt-get install failed: $(tail -n 3 <<<"$output")"
  # Debian starts a Redis of its own with the package; tests start theirs on a port of their own.
fi
left=$(missing | paste -sd ' ')
[ -z "$left" ] || warn "some tests will be skipped without: $left"
exit 0
