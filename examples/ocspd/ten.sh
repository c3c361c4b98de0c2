#!/bin/sh
# Makes a CA, a delegated responder and ten certificates here, and prints their rows in SQL: the
# third is revoked. The serial numbers are 01 to 0a.
set -eu
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
openssl req -x509 $key -keyout ca.key -out ca.pem -days 3650 -subj "/CN=Ten CA" \
	-addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature 2>/dev/null
issue() { # NAME SERIAL EXTENSIONS
	openssl req $key -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" 2>/dev/null
	printf '%b' "$3" >"$1.ext"
	openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -set_serial "0x$2" -days 365 \
		-extfile "$1.ext" -out "$1.pem" 2>/dev/null
	rm "$1.csr" "$1.ext"
}
issue ocsp 7f0123456789abcdef01 'extendedKeyUsage=OCSPSigning\nkeyUsage=critical,digitalSignature\n1.3.6.1.5.5.7.48.1.5=ASN1:NULL\n'
now=$(date +%s)
for serial in 01 02 03 04 05 06 07 08 09 0a; do
	issue "cert$serial" "$serial" 'extendedKeyUsage=serverAuth\n'
	octets=${HEX-"x'"}$serial
	row="'Active', '', NULL"
	[ "$serial" != 03 ] || row="'Compromised', 'keyCompromise', $now"
	echo "INSERT INTO ocsp_certificates (issuer, serial, state, reason, revoked_at)" \
		"VALUES ('ca', $octets', $row);"
done
