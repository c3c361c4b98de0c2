#!/usr/bin/env bash
# Installs Chromium, which the tests open the example KMS's page in. It does nothing where it is there, and exits 1 with
# the reason if it is missing in the end.
set -uo pipefail

has_browser() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; }
has_browser && exit 0

if ! command -v apt-get >/dev/null; then
	echo "missing: chromium; there is no apt-get here to install it with" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "missing: chromium; run as root: apt-get install chromium" >&2
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! apt-get update -q >"$log" 2>&1; then
	echo "apt-get update failed; going on with the lists that are there:" >&2
	tail -5 "$log" >&2
fi
echo "installing chromium"
if ! apt-get install -qy --no-install-recommends chromium >"$log" 2>&1; then
	echo "could not install chromium:" >&2
	tail -5 "$log" >&2
fi
has_browser || { echo "Chromium is still missing: none of chromium, chromium-browser and google-chrome is in PATH" >&2; exit 1; }
