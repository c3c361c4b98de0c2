#!/usr/bin/env bash
# Runs each fuzz target of the root module for FUZZTIME, one at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "fuzz $package $target for ${FUZZTIME:-5s}"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-5s}" "$package"
	done
done
