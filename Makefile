.PHONY: check vet test hosts consistency model mutations simulate faults fuzz bench soak house demo first-command cluster tidy release-check toolchains apidiff cover \
	supply sbom licenses dist

MODULES := . ocspfasthttp ocspotel ocspsql ocspsql/pgfeed ocspredis interop simulation bench examples
HOSTS := examples/ocspd examples/stapling examples/stepca examples/kmip
FUZZTIME ?= 5s
ROUNDS ?= 40000
VERSION ?= v0.0.0

# What to run before each commit: the root module, with little to download.
check:
	./scripts/check.sh

# Vets all modules of go.work. make test does that too.
vet:
	go vet $(addprefix ./,$(addsuffix /...,$(MODULES)))

# Everything: formatting, vet, staticcheck, tidiness, tests with the race detector in every module
# against real tools, both storages, both FIPS modes, allocations and coverage. It installs what is
# missing, if it may, and names what it left out.
test:
	./scripts/test.sh $(MODULES)

# Programs that embed the responder, each a module of its own, outside go.work.
hosts:
	./scripts/hosts.sh $(wildcard $(HOSTS))

# Changes at one replica, questions at the others, histories checked: ROUNDS in all, a quarter in
# each mode. The tests make 10,000. For hours: make consistency ROUNDS=1000000
consistency:
	./scripts/install.sh databases
	cd examples && OCSP_REQUIRE_TOOLS=1 go test -count=1 -timeout 0 -run TestConsistency -v \
		./kms -rounds $(ROUNDS)

# Ten minutes of worlds that replay from their seeds. Fails if they have less than a million revocations.
simulate:
	go test -vet=off -count=1 -timeout 60m -v -run 'TestSimulation$$' ./simulation -for 10m -least 1000000

# Plants faults into a copy of the source, one at a time, in half an hour. Fails if one is not found.
faults:
	./scripts/install.sh build
	go run ./simulation/faults

# The freshness protocol, checked with Spin, in two minutes: it says what is complete.
model:
	./scripts/install.sh build model
	go run ./model -write docs/RELIABILITY.md

# Each rule of the protocol taken out of the model, in ten minutes. Every one must be found.
mutations:
	./scripts/install.sh build model
	go run ./model -mutations -write docs/RELIABILITY.md

# Looks for inputs that break a parser, counts, and adds to the corpus. Longer: make fuzz FUZZTIME=10m
fuzz:
	go run ./scripts/fuzz -time $(FUZZTIME)

# How the source hangs together, and what a request passes on its way.
house:
	go run ./scripts/house

# What the responder does, with the machine's openssl as the client.
demo:
	go run ./examples/demo

# What that costs a machine with empty caches, beside a bare server of net/http.
first-command:
	./scripts/first-command.sh

# Three replicas of it over PostgreSQL and Redis, which it starts, while things break.
cluster:
	./scripts/install.sh databases
	go run ./examples/kms cluster

# go mod tidy in all modules; those that are published require each other as of this tree.
tidy:
	go run ./scripts/release -tidy

# Publishes the tree into a directory and uses each module from there, as importers do. The modules
# that are not published are built at that version too.
release-check:
	go run ./scripts/release -check

# What is published, built and tested with the oldest release of Go that go.mod allows, and the newest.
toolchains:
	./scripts/toolchains.sh

# How the exported API differs from that of the last tag.
apidiff:
	./scripts/apidiff.sh

# ocspcheck built twice, in two folders, and vulnerabilities, if their database can be had;
# VULNS=-require fails if it cannot.
supply:
	go run ./scripts/supply reproduce
	go run ./scripts/supply vulns $(VULNS)

# A CycloneDX bill of materials of each published module and of ocspd, in dist/: make sbom VERSION=v0.1.0
sbom:
	go run ./scripts/supply sbom -version $(VERSION)

# What a release has: the bills of materials, and ocspcheck for all platforms, with checksums.
dist: sbom
	go run ./scripts/supply build

# Writes docs/LICENSES.md.
licenses:
	go run ./scripts/supply licenses

# What answers cost here and elsewhere, beside the goals: writes docs/PERFORMANCE.md and its plots, in a quarter of an hour.
bench:
	-./scripts/install.sh measuring
	go run ./bench -write

# Ten minutes of mixed requests; fails if heap or goroutines grow. Writes its section of docs/PERFORMANCE.md.
soak:
	go run ./bench -only soak -soak 10m -strict -write

cover:
	go test -coverpkg=.,./internal/codec -coverprofile=cover.out ./... && go tool cover -func=cover.out | tail -1
