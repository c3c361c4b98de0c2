#!/usr/bin/env bash
# Runs each fuzz target of the root module for FUZZTIME, one at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
for package in $(go list ./...); do
	list=$(go test -list '^Fuzz' "$package")
	for target in $(grep '^Fuzz' <<<"$list" || true); do
		printf '%s for %s: ' "$target" "${FUZZTIME:-5s}"
		out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-5s}" "$package" 2>&1) || { echo "$out"; exit 1; }
		echo "$out" | grep execs | tail -1 | sed 's/^fuzz: //'
	done
done
