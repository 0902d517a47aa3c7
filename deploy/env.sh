#!/usr/bin/env bash
# Writes .env for docker-compose.yml, once: a secret and keys of this installation's own, drawn at
# random and readable by you alone. An .env that exists is never changed.
set -euo pipefail
cd "$(dirname "$0")/.."

file=${1:-.env}
if [ -e "$file" ]; then
  echo "$file exists and stays as it is; remove it first to draw new secrets" >&2
  exit 1
fi
random() { head -c 32 /dev/urandom | base64 | tr -d '/+=\n' | cut -c 1-40; }
umask 077
cat >"$file" <<ENV
# The key of pseudonyms and tokens. Losing it makes every shopper in the log a stranger.
RING_SECRET=$(random)
# For pages in browsers; for the shop's own machines (and the simulated shoppers); for operators.
RING_BROWSER_KEY=$(random)
RING_SHOP_KEY=$(random)
RING_OPERATE_KEY=$(random)
GRAFANA_PASSWORD=$(random)

# Simulated shoppers live a year in minutes. Remove these three for real ones.
RING_ARM_PERIOD_SECONDS=5
RING_ATTRIBUTION_WINDOW_SECONDS=30
RING_LATENESS_SECONDS=300
# RING_WORLD=synthetic            the simulated shop: synthetic or aisles
# RING_RATE=50                    banners a second that its shoppers ask for
# RING_LISTEN=127.0.0.1           the address at which the service is published
# RING_INSIDE_LISTEN=127.0.0.1    the console, Prometheus and Grafana; whoever reaches the first two reads them
# RING_PORT=8080                  also RING_CONSOLE_PORT, RING_PROMETHEUS_PORT, RING_GRAFANA_PORT
# RING_SERVICE_URL=http://127.0.0.1:8080    the service as browsers see it
# RING_CORS_ORIGINS=              origins of storefronts, comma-separated
ENV
echo "wrote $file" >&2
