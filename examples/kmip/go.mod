module github.com/kmsocsp/ocsp/examples/kmip

go 1.26.0

require (
	github.com/kmsocsp/ocsp v0.0.0
	github.com/ovh/kmip-go v0.8.0
)

require (
	github.com/patrickmn/go-cache v2.1.0+incompatible // indirect
	golang.org/x/crypto v0.59.0 // indirect
)

replace github.com/kmsocsp/ocsp => ../..
