#!/usr/bin/env bash
# Builds all modules and tests the root module with the first release of Go that go.mod allows, and
# with the newest. The go command downloads them; one that it cannot have is left out, and said so.
set -euo pipefail
cd "$(dirname "$0")/.."
floor=$(awk '$1 == "go" { print $2 }' go.mod)
newest=$(go list -m go@latest | awk '{ print $2 }')
for version in "$floor" "$newest"; do
	begun=$SECONDS
	echo "== go $version"
	export GOTOOLCHAIN=go$version
	if ! go version; then
		echo "left out: go $version cannot be downloaded from here"
		continue
	fi
	for module in "$@"; do (cd "$module" && go build ./...); done
	go test -count=1 . ./internal/... ./ocspconfig ./ocsptest ./cmd/...
	echo "$((SECONDS - begun)) s"
done
