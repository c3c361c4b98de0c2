#!/usr/bin/env bash
# Runs every check of the project: scripts/test.sh MODULE...
# It installs openssl with apt-get if it is missing and that is possible, and fails rather than skip.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { echo; echo "== $*"; }

if ! command -v openssl >/dev/null; then
	step "installing openssl, which the tests query the responder with"
	if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
		apt-get update -q && apt-get install -qy openssl
	else
		echo "openssl is missing and cannot be installed from here: install it and run again"
		exit 1
	fi
fi
export OCSP_REQUIRE_TOOLS=1

for module in "$@"; do
	step "module $module: gofmt, go mod tidy, vet, staticcheck"
	(
		cd "$module"
		unformatted=$(gofmt -l .)
		[ -z "$unformatted" ] || { echo "gofmt wants: $unformatted"; exit 1; }
		go mod tidy -diff
		go vet ./...
		go run "$STATICCHECK" ./...
	)
done

step "tests with the race detector"
for module in "$@"; do
	(cd "$module" && go test -race -count=1 -timeout 15m ./...)
done

step "coverage of the root package and the codec, which must be at least 90 %"
profile=$(mktemp)
trap 'rm -f "$profile"' EXIT
go test -count=1 -coverpkg=.,./internal/codec -coverprofile="$profile" . ./internal/codec ./ocsptest >/dev/null
total=$(go tool cover -func="$profile" | awk '/^total:/ { sub("%", "", $3); print $3 }')
echo "coverage: $total %"
awk -v t="$total" 'BEGIN { exit !(t >= 90) }' || { echo "too low"; exit 1; }

step "fuzzing"
./scripts/fuzz.sh

step "all passed"
for module in "$@"; do
	(cd "$module" && go test -count=1 -run '^$' ./... >/dev/null)
done
