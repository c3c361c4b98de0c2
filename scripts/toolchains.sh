#!/usr/bin/env bash
# Builds the published modules, and tests the library, with the first release of Go that go.mod allows
# and with the newest. The go command downloads them; one that it cannot have is left out, and said so.
# With OCSP_REQUIRE_TOOLS=1 that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
floor=$(awk '$1 == "go" { print $2 }' go.mod)
modules=$(go run ./scripts/release -list)
newest=$(go list -m go@latest | awk '{ print $2 }') || newest="(newest)"
for version in "$floor" "$newest"; do
	begun=$SECONDS
	echo "== go $version"
	export GOTOOLCHAIN=go$version
	if ! go version; then
		echo "left out: go $version cannot be downloaded from here"
		[ "${OCSP_REQUIRE_TOOLS-}" != 1 ] || exit 1
		continue
	fi
	for module in $modules; do (cd "$module" && go build ./...); done
	go test -vet=off -count=1 . ./internal/... ./ocspconfig
	echo "$((SECONDS - begun)) s"
done
