#!/usr/bin/env bash
# Runs ocspcheck against the example KMS, against openssl ocsp, and against cfssl's responder if the Go module
# proxy serves it, and prints the table of docs/CONFORMANCE.md. It needs Go, openssl and free ports: 8080, 8082, and some from 20001 on.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"' EXIT
go build -o "$work/ocspcheck" ./cmd/ocspcheck
go build -o "$work/kms" ./examples/kms

check() { # name, then the arguments of ocspcheck
	local name=$1
	shift
	"$work/ocspcheck" -json -timeout 10m -case-timeout 5s "$@" >"$work/$name.json" || [ $? = 1 ]
}
await() { # a port
	for _ in $(seq 100); do
		(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
		sleep 0.1
	done
	echo "nothing listens on port $1" >&2
	return 1
}

# The example KMS, with its own CA.
(cd "$work" && exec ./kms serve >kms.out 2>&1) & pids+=($!)
await 8080
(cd "$work" && ./kms certify revoked && ./kms revoke -reason keyCompromise "$(./kms list | awk '/revoked/ { print $1 }')") >/dev/null
check kms -issuer "$work/.kms/ca.pem" -cert "$work/.kms/example.pem" -revoked "$work/.kms/revoked.pem" http://127.0.0.1:8080/ocsp/

# A CA for the others, with a certificate that is good and one that is revoked.
cd "$work"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30 -subj "/CN=Conformance CA" 2>/dev/null
for n in 1 2; do
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -subj "/CN=leaf $n" 2>/dev/null |
		openssl x509 -req -CA ca.pem -CAkey ca.key -set_serial "0x7a11ce5500000000000000000000000$n" -days 30 -out "leaf$n.pem" 2>/dev/null
done
end=$(date -u -d '+30 days' +%y%m%d%H%M%SZ)
printf 'V\t%s\t\t7A11CE55000000000000000000000001\tunknown\t/CN=leaf 1\n' "$end" >index
printf 'R\t%s\t%s,keyCompromise\t7A11CE55000000000000000000000002\tunknown\t/CN=leaf 2\n' "$end" "$(date -u -d '-1 hour' +%y%m%d%H%M%SZ)" >>index
# openssl serves one connection at a time and does not come back from every one, so each case gets a process of
# its own. It says when it listens; a connection to find out would be the first that it does not come back from.
columns=("examples/kms=$work/kms.json")
port=20000
serve_openssl() { # on the next port that is free; sets port and pid
	for port in $(seq $((port + 1)) 20500); do
		openssl ocsp -port "$port" -index index -CA ca.pem -rsigner ca.pem -rkey ca.key -ndays 1 >"openssl-$port.out" 2>&1 & pid=$!
		pids+=("$pid")
		while kill -0 "$pid" 2>/dev/null; do
			grep -qs waiting "openssl-$port.out" && return
			sleep 0.05
		done
	done
	return 1
}
for id in $("$work/ocspcheck" -list | awk '{ print $1 }'); do
	serve_openssl
	check "openssl-$id" -only "$id" -issuer ca.pem -cert leaf1.pem -revoked leaf2.pem "http://127.0.0.1:$port/"
	kill -9 "$pid" 2>/dev/null || true # some cases end it
	wait "$pid" 2>/dev/null || true
	columns+=("$(openssl version | awk '{ print $1, $2 }')=$work/openssl-$id.json")
done

mkdir cfssl && cp "$root/docs/conformance/cfssl.go.txt" cfssl/main.go
if (cd cfssl && export GOWORK=off GOFLAGS=-mod=mod && go mod init cfssl.test && go get github.com/cloudflare/cfssl@v1.6.5 && go mod tidy && go build -o ../cfssl-ocsp .) >cfssl.out 2>&1; then
	./cfssl-ocsp 127.0.0.1:8082 ca.pem ca.key leaf1.pem leaf2.pem >>cfssl.out 2>&1 & pids+=($!)
	await 8082
	check cfssl -issuer ca.pem -cert leaf1.pem -revoked leaf2.pem http://127.0.0.1:8082/
	columns+=("cfssl v1.6.5=$work/cfssl.json")
else
	echo "cfssl cannot be had: $(tail -1 cfssl.out)" >&2
fi
cd "$root"
# For a closer look: the reports themselves.
[ -z "${KEEP:-}" ] || cp "$work"/*.json "$KEEP"
go run ./docs/conformance "${columns[@]}"
