#!/usr/bin/env bash
# Measures what the first command of the README costs a machine that has Go and nothing else, beside a
# bare server of net/http and crypto/tls: CPU-seconds and seconds of the build from empty caches,
# downloads, and seconds from the start of what was built to its first line.
# With arguments it measures another command: scripts/first-command.sh go run ./examples/kms demo
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- go run ./examples/demo
[ $# -ge 3 ] && [ "$1 $2" = "go run" ] ||
	{ echo "usage: scripts/first-command.sh [go run PACKAGE ARGUMENT...]" >&2; exit 2; }
shift 2
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
# measure does what go run does, with empty caches: measure NAME DIRECTORY PACKAGE ARGUMENT...
measure() {
	local name=$1 dir=$2 package=$3
	shift 3
	export GOCACHE=$work/cache-$name GOMODCACHE=$work/modules-$name
	mkdir -p "$GOCACHE" "$GOMODCACHE/cache/download"
	TIMEFORMAT='%R %U %S'
	times=$( { time (cd "$dir" && GOFLAGS=-modcacherw go build -o "$work/$name.exe" "$package" 2>"$work/err"); } 2>&1) ||
		{ cat "$work/err"; exit 1; }
	begun=$EPOCHREALTIME
	exec {lines}< <("$work/$name.exe" "$@" 2>"$work/err")
	program=$!
	read -r -u "$lines" first || true
	ended=$EPOCHREALTIME
	{ echo "${first-}"; cat <&"$lines"; } >"$work/out"
	exec {lines}<&-
	wait "$program" || { cat "$work/out" "$work/err"; exit 1; }
	downloads=$(du -sb "$GOMODCACHE/cache/download" | cut -f1)
	disk=$(du -scm "$GOCACHE" "$GOMODCACHE" | tail -1 | cut -f1)
	awk -v n="$name" -v a="$begun" -v b="$ended" -v d="$downloads" -v disk="$disk" '{
		printf "%-6s %6.1f CPU-s, %5.1f s to build; %5.2f s to the first line; ", n, $2+$3, $1, b-a
		printf "%.1f MB of downloads, %d MB on disk\n", d/1e6, disk
	}' <<<"$times"
	cpu=$(awk '{ print $2+$3 }' <<<"$times")
}
measure bare "$work/bare" main.go
bare=$cpu
measure first . "$@"
awk -v a="$bare" -v b="$cpu" 'BEGIN { printf "%.2f times the CPU-seconds of the bare server\n", b/a }'
