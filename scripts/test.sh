#!/usr/bin/env bash
# Runs every check of the project over its modules: scripts/test.sh MODULE...
# It installs what is missing of openssl, a C compiler, the databases that stores are tested with, the clients and
# servers of the module interop, and a browser, with apt-get if that is possible. A test that is skipped is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "usage: scripts/test.sh MODULE..."; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

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
if ! command -v "$(go env CC)" >/dev/null; then
	step "installing a C compiler, which the race detector is linked with"
	if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
		apt-get update -q && apt-get install -qy gcc libc6-dev
	else
		echo "there is no C compiler: install $(go env CC) and run again"
		exit 1
	fi
fi
step "databases"
./scripts/install-databases.sh
step "clients and servers that the responder must get on with"
./scripts/install-clients.sh
step "a browser"
./scripts/install-browser.sh
export OCSP_REQUIRE_TOOLS=1

for module in "$@"; do
	step "module $module: gofmt, go mod tidy, vet, staticcheck"
	(
		cd "$module"
		unformatted=$(gofmt -l .)
		[ -z "$unformatted" ] || { echo "gofmt wants: $unformatted"; exit 1; }
		GOWORK=off go mod tidy -diff
		GOWORK=off go build ./...
		go vet ./...
		go run "$STATICCHECK" ./...
	)
done

step "tests with the race detector"
for module in "$@"; do
	if ! (cd "$module" && go test -race -count=1 -timeout 15m -v ./...) >"$work/out" 2>&1; then
		grep -vE '^\s*(=== |--- PASS)' "$work/out"
		exit 1
	fi
	grep -E '^(ok|\?|interop:)' "$work/out"
	cat "$work/out" >>"$work/all"
done

step "the root package again, with the compact storage"
go test -race -count=1 . -storage 1 >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
cat "$work/out"

step "FIPS 140-3 mode: fips140=only, and fips140=on with allocations and the coverage of the root package and the codec, which must be at least 90 % each"
for packages in ./cmd/... ./ocspfasthttp/... ./ocspotel/...; do
	GODEBUG=fips140=only go test -count=1 "$packages" >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
	cat "$work/out"
done
GODEBUG=fips140=on go test -count=1 -coverpkg=.,./internal/codec -coverprofile="$work/cover" . ./internal/... ./ocsptest >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
grep -E '^ok' "$work/out"
for part in 'github.com/kmsocsp/ocsp/[^/]*:' 'github.com/kmsocsp/ocsp/internal/codec/'; do
	{ head -1 "$work/cover"; grep -E "^$part" "$work/cover"; } >"$work/part"
	total=$(go tool cover -func="$work/part" | awk '/^total:/ { sub("%", "", $3); print $3 }')
	echo "$part $total %"
	awk -v t="$total" 'BEGIN { exit !(t >= 90) }' || { echo "too low"; exit 1; }
done

step "consistency, without the race detector: 10,000 revocations at one replica, questions at the others, in each mode"
(cd examples && go test -count=1 -timeout 15m -run TestConsistency -v ./kms -rounds 10000) >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
grep -E '^ *--- |rounds in' "$work/out"

step "fuzzing"
./scripts/fuzz.sh

step "what the tests said"
grep -E '^ok' "$work/all"
passed=$(grep -cE '^\s*--- PASS' "$work/all" || true)
skipped=$(grep -E '^\s*--- SKIP' "$work/all" || true)
if [ -n "$skipped" ]; then
	echo "skipped, which is not allowed here:"
	echo "$skipped"
	exit 1
fi
echo "$passed passed, 0 failed"
