#!/usr/bin/env bash
# Runs every check of the project over its modules, which go.work names: scripts/test.sh MODULE...
# It installs with apt-get, as root, what is missing of a C compiler, openssl, the databases that
# stores are tested with, the clients and servers of the module interop, a browser and spin. What
# cannot be had is left out, and named at the end; with OCSP_REQUIRE_TOOLS=1 that is a failure. It
# ends with where the time went.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "usage: scripts/test.sh MODULE..."; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# step begins a step, and notes how long the one before took.
name=
step() {
	[ -z "$name" ] || printf '%5d s  %s\n' $((SECONDS - begun)) "$name" >>"$work/times"
	name=$* begun=$SECONDS
	[ -z "$name" ] || printf '\n== %s\n' "$name"
}
# fail prints what the tests of packages that failed wrote to a file, without those that passed, and
# ends it all. What comes before the line with a package's name is of that package.
fail() {
	grep -avE '^\s*(=== |--- PASS)' "$1" |
		awk '/^(ok|\?) .*\t/ { text = ""; next } { text = text $0 "\n" } /^FAIL\t/ { printf "%s", text; text = "" }
			END { printf "%s", text }' || true
	step
	summary || true
	exit 1
}
# summary prints what took how long and how many tests there were.
summary() {
	printf '\n== time: %d s\n' "$SECONDS"
	cat "$work/times"
	# The slowest packages. They ran side by side, so that they add up to more than their step.
	{ grep -hE '^(ok|FAIL)\s.*\s[0-9.]+s' "$work"/*.out || true; } |
		awk '{ sub("s$", "", $3); printf "%7.0f s  %s\n", $3, $2 }' | sort -rn | head -12
	printf '\n== what the tests said\n'
	grep -E '^ok' "$work/race.out" || true
	passed=$(grep -cE '^\s*--- PASS' "$work/race.out" || true)
	failed=$(cat "$work"/*.out | grep -cE '^\s*--- FAIL' || true)
	# A package that does not build, or runs out of time, has no failed test.
	[ "$failed" -gt 0 ] || failed=$(cat "$work"/*.out | grep -cE '^FAIL\s+\S' || true)
	# The names of skipped tests and the reasons, which are on the line after.
	skipped=$(awk '/^ *--- SKIP/ { name = $3; getline; sub(/^[^:]*:[0-9]+: /, ""); print "  " name ": " $0 }' \
		"$work/race.out" 2>/dev/null || true)
	if [ -n "$skipped$missing" ]; then
		printf '\n== left out\n'
		[ -z "$skipped" ] || echo "$skipped"
		[ -n "$race" ] || echo "  the race detector: there is no C compiler"
		[ -z "$missing" ] || echo "  to have all of it, as root: apt-get install $missing"
	fi
	printf '\n%d passed, %d failed\n' "$passed" "$failed"
	[ "$failed" = 0 ] && { [ -z "$skipped" ] || [ "${OCSP_REQUIRE_TOOLS-}" != 1 ]; }
}

tools="build databases clients browser model"
missing=$(./scripts/install.sh -list $tools)
race=-race
cat <<'EOF'
make test: all checks of all modules. On two cores it takes 12 minutes if the caches of the go command
are warm, and 10 more from empty ones. "make check" is the short one: a minute.
EOF
if [ -n "$missing" ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "First it installs these with apt-get, in five minutes or so (all need 2 GB): $missing"
		step "installing"
		./scripts/install.sh $tools || true
		missing=$(./scripts/install.sh -list $tools)
	else
		echo "These are not here, so what needs them is left out: $missing"
	fi
fi
if [ -z "$missing" ]; then
	export OCSP_REQUIRE_TOOLS=1 # nothing has a reason to be skipped
elif [ "${OCSP_REQUIRE_TOOLS-}" = 1 ]; then
	echo "OCSP_REQUIRE_TOOLS=1 asks for all of them"
	exit 1
fi
command -v "$(go env CC)" >/dev/null || race=

packages=()
for module in "$@"; do packages+=("./$module/..."); done

step "gofmt, go mod tidy, build, vet, staticcheck"
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "gofmt wants: $unformatted"; exit 1; }
go run ./scripts/release -tidy -diff
go vet "${packages[@]}"
(cd scripts/tools && GOWORK=off go mod tidy -diff)
"$(./scripts/tool.sh staticcheck)" "${packages[@]}"

# The smallest configurations. make model and make mutations run them all.
if command -v spin >/dev/null; then
	step "the model: three configurations, and the three cheapest mutations"
	go run ./model -ci
fi

# One go command for all modules: it builds while it tests. Many tests wait, so that one package more
# than there are processors runs at a time. Those that take longest are named first, so that none is
# left for the end.
step "tests with the race detector"
go test $race -p $(($(getconf _NPROCESSORS_ONLN) + 1)) -vet=off -count=1 -timeout 15m -v \
	. ./examples/kms ./interop ./ocsptest ./ocspsql ./bench "${packages[@]}" \
	>"$work/race.out" 2>&1 || fail "$work/race.out"
grep -E '^(ok|\?|interop:|simulation:)' "$work/race.out"

step "consistency: 10,000 rounds without the race detector"
go test -vet=off -count=1 -timeout 15m -run TestConsistency -v ./examples/kms -rounds 10000 \
	>"$work/rounds.out" 2>&1 || fail "$work/rounds.out"
grep -E 'rounds in' "$work/rounds.out" || [ -n "$missing" ]

# go test for a single package leaves a processor idle, so that these run side by side. Those with
# the compact storage leave out long tests that are not about what is cached. FIPS mode is that of
# the module that has a certificate, and with it runs what allocations and coverage are taken from.
step "the root package again, with the compact storage; allocations and coverage with fips140=on; fips140=only"
go test $race -vet=off -count=1 . -compact -skip 'Flood|T190|T196|FIPS' >"$work/compact.out" 2>&1 &
compact=$!
export GOFIPS140=certified
GODEBUG=fips140=on go test -vet=off -count=1 \
	-coverpkg=.,./internal/codec -coverprofile="$work/cover" . ./internal/... ./ocsptest \
	>"$work/fips.out" 2>&1 || { wait $compact || true; fail "$work/fips.out"; }
GODEBUG=fips140=only go test -vet=off -count=1 ./cmd/... ./ocspfasthttp/... ./ocspotel/... \
	>"$work/only.out" 2>&1 || { wait $compact || true; fail "$work/only.out"; }
wait $compact || fail "$work/compact.out"
unset GOFIPS140
grep -hE '^ok' "$work/compact.out" "$work/fips.out" "$work/only.out"
for part in 'github.com/kmsocsp/ocsp/[^/]*:' 'github.com/kmsocsp/ocsp/internal/codec/'; do
	{ head -1 "$work/cover"; grep -E "^$part" "$work/cover"; } >"$work/part"
	total=$(go tool cover -func="$work/part" | awk '/^total:/ { sub("%", "", $3); print $3 }')
	echo "$part $total %"
	awk -v t="$total" 'BEGIN { exit !(t >= 90) }' || { echo "too low: at least 90 %"; exit 1; }
done

step
summary
