.PHONY: test demo cluster lint tidy fuzz bench soak cover

MODULES := . ocspfasthttp ocspotel ocspsql ocspsql/pgfeed ocspredis interop bench examples
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 5s

# Everything: formatting, vet, staticcheck, tidiness, tests with the race detector in every module against
# real tools, coverage, and each fuzz target for FUZZTIME.
test:
	FUZZTIME=$(FUZZTIME) STATICCHECK=$(STATICCHECK) ./scripts/test.sh $(MODULES)

# The example KMS shows what the responder does, with the machine's openssl as the client.
demo:
	go run ./examples/kms demo

# Three replicas of it over PostgreSQL and Redis, which it starts, while things break.
cluster:
	./scripts/install-databases.sh
	go run ./examples/kms cluster

lint:
	@for m in $(MODULES); do (cd $$m && test -z "$$(gofmt -l .)" && go vet ./... && go run $(STATICCHECK) ./...) || exit 1; done

tidy:
	@for m in $(MODULES); do (cd $$m && go mod tidy) || exit 1; done

# A longer look for inputs that break a parser: make fuzz FUZZTIME=10m
fuzz:
	FUZZTIME=$(FUZZTIME) ./scripts/fuzz.sh

# What answers cost here and elsewhere, beside the goals: writes docs/PERFORMANCE.md and its plots, in a quarter of an hour.
bench:
	-./scripts/install-clients.sh wrk nginx openssl
	go run ./bench -write

# Ten minutes of mixed requests; fails if heap or goroutines grow. Writes its section of docs/PERFORMANCE.md.
soak:
	go run ./bench -only soak -soak 10m -strict -write

cover:
	go test -coverpkg=.,./internal/codec -coverprofile=cover.out ./... && go tool cover -func=cover.out | tail -1
