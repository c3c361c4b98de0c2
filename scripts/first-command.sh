#!/usr/bin/env bash
# Measures what the first command of the README costs a machine that has Go and nothing else, beside a
# bare server of net/http and crypto/tls: CPU-seconds, downloads, and seconds from start to first line.
# With arguments it measures another command: scripts/first-command.sh go run ./examples/kms demo
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- go run ./examples/demo
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mkdir "$work/bare"
cat >"$work/bare/main.go" <<'GO'
package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
)

func main() {
	server := &http.Server{TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
	fmt.Println("a bare server", server.Close())
}
GO
# measure runs a command with empty caches: measure NAME DIRECTORY COMMAND...
measure() {
	local name=$1 dir=$2
	shift 2
	export GOCACHE=$work/cache-$name GOMODCACHE=$work/modules-$name
	mkdir -p "$GOCACHE" "$GOMODCACHE/cache/download"
	TIMEFORMAT='%R %U %S'
	times=$( { time (cd "$dir" && GOFLAGS=-modcacherw "$@" >"$work/out" 2>"$work/err"); } 2>&1) ||
		{ cat "$work/out" "$work/err"; exit 1; }
	downloads=$(du -sb "$GOMODCACHE/cache/download" | cut -f1)
	disk=$(du -scm "$GOCACHE" "$GOMODCACHE" | tail -1 | cut -f1)
	awk -v n="$name" -v d="$downloads" -v disk="$disk" \
		'{ printf "%-8s %6.1f CPU-s %6.1f s %6.1f MB of downloads %5d MB on disk\n", n, $2+$3, $1, d/1e6, disk }' <<<"$times"
	cpu=$(awk '{ print $2+$3 }' <<<"$times")
}
measure bare "$work/bare" go run main.go
bare=$cpu
measure first . "$@"
awk -v a="$bare" -v b="$cpu" 'BEGIN { printf "%.2f times the CPU-seconds of the bare server\n", b/a }'
