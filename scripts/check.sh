#!/usr/bin/env bash
# Checks what can be checked in a minute and a half: the format and vet of the modules that are named,
# and staticcheck and the tests of the root module, without the race detector. Tests that need a
# server skip themselves where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "usage: scripts/check.sh MODULE..."; exit 2; }
packages=()
for module in "$@"; do packages+=("./$module/..."); done
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "gofmt wants: $unformatted"; exit 1; }
go vet "${packages[@]}"
"$(./scripts/tool.sh staticcheck)" ./...
go test -vet=off ./...
echo "$SECONDS s"
