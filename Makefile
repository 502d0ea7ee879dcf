# make builds; make check test and make interop fuzz are what CI runs. All targets but deps need
# only Go, and the tests need what deps installs.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL: # go test uses every core by itself

# What ships needs no C, so neither does anything but the race detector.
export CGO_ENABLED := 0
# Everything is compiled as for a release: on a machine with an empty cache, compiling all packages
# a second time takes 100 s of the processors.
export GOFLAGS := $(strip $(GOFLAGS) -trimpath)

# How long the tests of one package may take: a test that hangs fails, and a busy machine
# doesn't.
TIMEOUT := 15m
# Inputs for each fuzz target: some seconds, to notice that it broke; give more
# for a real hunt. A count, since Go 1.26 may fail without a cause when a
# duration ends (golang/go issue 75804).
FUZZTIME := 10000x
# make check vets the tests, and go test would do it once more for each kind of build.
TEST := go test -vet=off
# The themes that run many other programs beside ours: nodes with a standby and a pooler, a mail
# server, package tools, whole set-ups, the previous release. They are make interop, without the
# race detector.
INTEROP := ./test/doctor ./test/documents ./test/faults ./test/mailserver ./test/nodes ./test/upgrade
# Series of years, scripts, kills and thousands of requests in a row, as bench sends: under the race
# detector, which makes SQLite 20 times as slow, they would take minutes. What they do side by
# side other tests do under it.
SERIES := Test(QuickRunGives|GatewayIsMeasured|MixedLoad|NoticesAreMeasured|BinaryCanBeCompared|Attack(11Years|136Kills|147Killed|14[A-Z]|4Many|7And150|8Aliases|21Notices|22Instance|24Spread|37Used|52Ways|69Names|74Attempt|129|131And132|142|150|157|R21Forwarded)|Flows|NoAccountFills|ReadyzTellsOfStandbys|ACME|R22NoReader|R22ScopeHolds|AWindowHasThreeCodes|D3Flood|AttackD7Time)
# The race detector brings a check of pointer arithmetic, which takes an eighth of the time in
# SQLite, whose translated C does arithmetic on every pointer.
RACE := -race '-gcflags=modernc.org/...=-d=checkptr=0'
# The packages that have some.
SERIES_IN = $$(grep -rlE --include='*_test.go' '^func $(SERIES)' bench internal test | xargs -n1 dirname | sort -u | sed 's|^|./|')
# How often make faults kills the program, how many codes it gives to three nodes
# while something breaks, and how long everything happens at once; go test does some
# of each. A seed may follow: 500:12345.
FAULTS := 500
ROUNDS := 1000
SOAK := 10m
FAULTSTIME := 90m
# Where make vulncheck reads which vulnerabilities are known; it takes file:// too.
VULNDB := https://vuln.go.dev
# How many seconds that database has to answer before it counts as not reachable: its
# answer is a few bytes, and a machine without a network shouldn't wait for long.
VULNDB_SECONDS := 10
# What make vulncheck reads.
VULNCHECK := ./...
# All others; internal itself, which only reads the tree, is a part of check.
RACED = $$(go list ./... | grep -vxF -f <(go list ./internal $(INTEROP)))
# Prints how much time a command took, and how much of the processors'.
TIME := TIMEFORMAT='%R s, of the processors %U s and in the kernel %S s'; time
# Starts a throw-away PostgreSQL around a command.
POSTGRES := go run ./internal/testkit/withpostgres --

# command:Debian package
NEEDS := gcc:gcc make:make curl:curl node:nodejs npm:npm chromium-headless-shell:chromium-headless-shell \
	fc-list:fontconfig oathtool:oathtool zbarimg:zbar-tools \
	keepassxc-cli:keepassxc pg_ctlcluster:postgresql pgbouncer:pgbouncer \
	nginx:nginx caddy:caddy haproxy:haproxy apache2:apache2 \
	bash:bash zsh:zsh fish:fish mandoc:mandoc \
	git:git wget:wget rclone:rclone mount.davfs:davfs2 \
	systemd-analyze:systemd shellcheck:shellcheck openssl:openssl ip:iproute2 \
	exim4:exim4-daemon-light python3:python3

# What packages are called: the tag that is built, or so many commits after it,
# which sorts above it.
VERSION = $(or $(shell git describe --tags --match 'v[0-9]*' 2>&- | sed -E 's/^v//; s/-([0-9]+)-g/+\1.g/'),0.0.0+$(shell git rev-list --count HEAD).g$(shell git rev-parse --short HEAD))
# $(call nfpm,VERSION,DIRECTORY)
define nfpm
for format in deb rpm; do \
	ARCH=$$(go env GOARCH) VERSION='$(1)' SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
	go tool -modfile=tools/nfpm/go.mod nfpm package --config deploy/packages/nfpm.yaml --packager $$format --target $(2); \
done
endef

.PHONY: build check deps tools-installed vulncheck test-binary mailpit unit race interop fuzz faults e2e test bench packages packages-test demo clean

build:
	go build -trimpath -ldflags '-s -w' -o bin/sallyport ./cmd/sallyport

check:
	@wrong=$$(gofmt -l cmd internal bench test); \
	[ -z "$$wrong" ] || { echo "run gofmt -w on:" $$wrong; exit 1; }
	go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...
	go test ./internal
	go mod verify
	go mod tidy -diff
	go -C tools mod tidy -diff

# Fails where the code calls something with a known vulnerability. It needs the
# network, so it is no part of check and test. govulncheck -version names the
# database's age only if it could read it.
vulncheck:
	go build -modfile=tools/govulncheck/go.mod -o bin/govulncheck golang.org/x/vuln/cmd/govulncheck
	@if timeout $(VULNDB_SECONDS) bin/govulncheck -db '$(VULNDB)' -version | grep '^DB updated:'; then \
		bin/govulncheck -db '$(VULNDB)' $(VULNCHECK); \
	else \
		echo 'Nothing was checked: the vulnerability database $(VULNDB) is not reachable.'; \
	fi

# Prints the packages that are missing.
define missing
for need in $(NEEDS); do \
	[ -n "$$(command -v "$${need%%:*}")" ] || echo "$${need##*:}"; \
done; \
[[ "$$(fc-list 2>&1)" == *DejaVu* ]] || echo fonts-dejavu-core; \
[[ "$$(gcc -E -include stdlib.h -xc - <<< "" 2>&1)" == *exit* ]] || echo libc6-dev
endef

deps: tools-installed e2e/node_modules/.package-lock.json

tools-installed:
	@missing=$$($(missing)); \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && [ -n "$$(command -v apt-get)" ]; then \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing; \
		missing=$$($(missing)); \
	fi; \
	[ -z "$$missing" ] || { echo "The tests need these Debian packages:" $$missing; exit 1; }

e2e/node_modules/.package-lock.json: e2e/package-lock.json | tools-installed
	cd e2e && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

# The program that the tests of test/ run.
race interop faults: export SALLYPORT_TEST_BINARY := $(CURDIR)/bin/test/sallyport
race interop faults: test-binary

test-binary:
	go build -trimpath -o bin/test/sallyport ./cmd/sallyport

unit:
	$(TIME) $(POSTGRES) $(TEST) -timeout $(TIMEOUT) $$(go list ./... | grep -v /test/)

race:
	$(TIME) $(POSTGRES) env CGO_ENABLED=1 $(TEST) $(RACE) -skip '$(SERIES)' -timeout $(TIMEOUT) $(RACED)
	$(TIME) $(POSTGRES) $(TEST) -run '$(SERIES)' -timeout $(TIMEOUT) $(SERIES_IN)

interop: deps
	$(TIME) $(POSTGRES) $(TEST) -timeout $(TIMEOUT) $(INTEROP)

fuzz:
	@$(TIME) { targets=$$(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' internal); \
	while IFS=: read -r file func; do \
		echo "$${func#func } in $${file%/*}"; \
		go test -run '^$$' -fuzz "^$${func#func }$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x -timeout $(TIMEOUT) "./$${file%/*}" <&-; \
	done <<< "$$targets"; }

# Long, so no part of test: once before a release.
faults:
	SALLYPORT_FAULTS=$(FAULTS) go test -run 'TestAttack136Kills|TestAttack147KilledMigration' -timeout $(FAULTSTIME) ./test/storage
	$(POSTGRES) env SALLYPORT_ROUNDS=$(ROUNDS) SALLYPORT_SOAK=$(SOAK) go test -run 'TestFaults' -v -timeout $(FAULTSTIME) ./test/faults

# The mail server of the browser tests.
mailpit:
	go build -modfile=tools/mailpit/go.mod -o bin/mailpit github.com/axllent/mailpit

e2e: build deps mailpit
	$(TIME) $(POSTGRES) npm --prefix e2e test

test: deps race e2e

# Half an hour on a machine with nothing else to do; writes docs/performance.md.
bench: tools-installed
	go run ./bench -runs 5 -out docs

# Builds bin/*.deb and bin/*.rpm.
packages: build
	mkdir -p bin/package
	sed 's|^data_dir: .*|data_dir: /var/lib/sallyport|' internal/config/default.yaml > bin/package/sallyport.yaml
	deploy/packages/copyright.sh > bin/package/copyright
	for shell in bash zsh fish; do bin/sallyport completion $$shell > bin/package/completion.$$shell; done
	bin/sallyport man | gzip -9n > bin/package/sallyport.1.gz
	bin/sallyport man sallyport.yaml | gzip -9n > bin/package/sallyport.yaml.5.gz
	rm -f bin/*.deb bin/*.rpm
	$(call nfpm,$(VERSION),bin)

# As root, on Debian: a fresh system boots, and gets both packages, their next
# version, and rid of them. What the alerts say is tested too. No part of test,
# since it fetches a whole Debian.
packages-test: NEEDS := curl:curl mmdebstrap:mmdebstrap systemd-nspawn:systemd-container
packages-test: tools-installed packages
	rm -rf bin/package/next
	mkdir bin/package/next
	echo '# The next version says more.' >> bin/package/sallyport.yaml
	$(call nfpm,99.0.0,bin/package/next)
	deploy/packages/test.sh

demo: build
	bin/sallyport demo

clean:
	rm -rf bin e2e/test-results e2e/playwright-report
