#!/usr/bin/env bash
# Checks what can be checked in a minute and a half, on any system with Go: the format of everything,
# and vet, staticcheck and the tests of the root module, without the race detector. It installs nothing,
# and downloads what that module needs and no other, whose tests "make test" runs, and those of scripts,
# which look into all modules. Tests that need a server skip themselves where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "gofmt wants: $unformatted"; exit 1; }
export GOWORK=off
go vet ./...
"$(./scripts/tool.sh staticcheck)" ./...
go test -vet=off . ./internal/... ./cmd/... ./model/... ./ocspconfig/... ./ocsptest/...
echo "$SECONDS s"
