module github.com/kmsocsp/ocsp/bench

go 1.26.0

require (
	github.com/cloudflare/cfssl v1.6.5
	github.com/kmsocsp/ocsp v0.0.0
	github.com/kmsocsp/ocsp/ocspfasthttp v0.0.0
	golang.org/x/crypto v0.58.0
)

require (
	github.com/google/certificate-transparency-go v1.1.7 // indirect
	github.com/jmhodges/clock v1.2.0 // indirect
	github.com/jmoiron/sqlx v1.3.5 // indirect
	github.com/kisielk/sqlstruct v0.0.0-20201105191214-5f3e10d3ab46 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/molecule-man/go-brrr v1.3.1 // indirect
	github.com/patrickmn/go-cache v2.1.0+incompatible // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	github.com/valyala/fasthttp v1.78.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
)

replace (
	github.com/kmsocsp/ocsp => ../
	github.com/kmsocsp/ocsp/ocspfasthttp => ../ocspfasthttp
)
