module github.com/kmsocsp/ocsp/simulation

go 1.26.0

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/kmsocsp/ocsp v0.0.0
	golang.org/x/crypto v0.59.0
	pgregory.net/rapid v1.3.0
)

require github.com/patrickmn/go-cache v2.1.0+incompatible // indirect

replace github.com/kmsocsp/ocsp => ../
