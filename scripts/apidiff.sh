#!/usr/bin/env bash
# Prints how the exported API of the published modules differs from that of a tag, the last one
# unless it is named: scripts/apidiff.sh [TAG]. From v1 on it fails if a change breaks importers.
set -euo pipefail
cd "$(dirname "$0")/.."
tag=${1:-$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || true)}
[ -n "$tag" ] || { echo "apidiff: there is no tag yet, so there is no API to compare with"; exit 0; }
work=$(mktemp -d)
trap 'git worktree remove --force "$work/old" 2>/dev/null; rm -rf "$work"' EXIT
git worktree add -q --detach "$work/old" "$tag"
apidiff=$(./scripts/tool.sh apidiff)

# api writes the API of each package that others may import, of a tree into a directory.
api() {
	mkdir "$2"
	cd "$1"
	for module in $(go run ./scripts/release -list); do
		for package in $(cd "$module" && go list -f '{{if ne .Name "main"}}{{.ImportPath}}{{end}}' ./...); do
			[[ $package == */internal/* ]] || "$apidiff" -w "$2/${package//\//!}" "$package"
		done
	done
}
(api "$work/old" "$work/was")
(api "$PWD" "$work/is")
broken=
for package in $(ls "$work/was" "$work/is" | grep ! | sort -u); do
	path=${package//!//}
	if [ ! -e "$work/was/$package" ]; then
		echo "$path: new"
	elif [ ! -e "$work/is/$package" ]; then
		echo "$path: removed"
		broken="$broken $path"
	else
		echo "$path:"
		"$apidiff" "$work/was/$package" "$work/is/$package"
		[ -z "$("$apidiff" -incompatible "$work/was/$package" "$work/is/$package")" ] ||
			broken="$broken $path"
	fi
done
[ -z "$broken" ] || echo "changes that break importers:$broken"
[ -z "$broken" ] || [[ $tag == v0.* ]]
