#!/usr/bin/env bash
# Checks modules that show hosts of the responder: scripts/hosts.sh MODULE... They are not in
# go.work, since their dependencies would change everybody's versions. It installs what is missing, if
# it may; tests that lack something are skipped, or fail with OCSP_REQUIRE_TOOLS=1. It ends with the
# times. With RACE= it tests without the race detector, for which all modules are built once more.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "usage: scripts/hosts.sh MODULE..."; exit 2; }
if ./scripts/install.sh hosts; then
	export OCSP_REQUIRE_TOOLS=1
fi
export GOWORK=off
times=
for module in "$@"; do
	printf '\n== %s\n' "$module"
	begun=$SECONDS
	(cd "$module" && go mod tidy -diff && go vet ./... && go test ${RACE--race} -count=1 -timeout 15m ./...)
	times+=$(printf '%5d s  %s' $((SECONDS - begun)) "$module")$'\n'
done
printf '\n== time: %d s\n%s' "$SECONDS" "$times"
