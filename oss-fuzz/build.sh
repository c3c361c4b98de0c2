#!/bin/bash -eu
# Builds the fuzz targets into $OUT, in OSS-Fuzz's image base-builder-go. A test in scripts/fuzz runs
# it, and fails if a target of the repository is missing here. It changes the checkout.
cd "$SRC/ocsp"

# The image's adapter replaces a file of the standard library, which the go command allows only
# outside the module cache. A newer toolchain than the image's is downloaded to there.
goroot=$(go env GOROOT)
if [[ $goroot == "$(go env GOMODCACHE)"* ]]; then
	copy=$(mktemp -d)
	cp -r "$goroot/." "$copy"
	chmod -R u+w "$copy"
	export GOROOT=$copy PATH=$copy/bin:$PATH GOTOOLCHAIN=local
fi

# The corpora, for each target that has one, in NAME_seed_corpus.zip. The adapter changes the test
# files below, which this looks for.
go run ./scripts/fuzz -seeds "$OUT"

# targets builds targets of the package in a directory. The adapter makes ordinary files of all test
# files, and then those of an external test package would collide with the package.
targets() (
	cd "$1"
	shift
	for file in $(go list -f '{{range .XTestGoFiles}}{{.}} {{end}}'); do
		rm "$file"
	done
	package=$(go list)
	for target; do
		compile_native_go_fuzzer_v2 "$package" "$target" "$target"
	done
)

targets internal/codec FuzzParseRequest FuzzParseResponse FuzzReadASN1 \
	FuzzDifferentialRequest FuzzDifferentialResponse FuzzWriteResponse
targets internal/getpath FuzzGetPath FuzzAppendDecoded FuzzFind
targets ocsptest FuzzHandler FuzzRecord FuzzRemoteCache FuzzSignedRequest FuzzCertificates FuzzLint
targets ocspconfig FuzzSettings
targets ocspfasthttp FuzzUnescape FuzzSameAnswer
targets ocspredis FuzzEntry FuzzMessage
targets ocspsql FuzzScanRecord FuzzSerial
targets ocspsql/pgfeed FuzzNotification
targets examples/kms/internal/config FuzzConfig
