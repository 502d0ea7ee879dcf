package main

import (
	"debug/elf"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
)

// measureSize measures the size of the binary, its compilation, its memory and its start.
func measureSize(b *bench) {
	b.file()
	if !b.quick && !b.again { // compiling takes two minutes
		b.firstCompilation()
	}
	b.coldStart()
	b.within(b.atRest)
	b.within(b.passwordsAtOnce)
}

func (b *bench) file() {
	info, err := os.Stat(b.binary)
	b.must(err)
	b.add(row{what: "Size of the binary", unit: "MB", got: float64(info.Size()) / MB, target: atMost(25)})
	file, err := elf.Open(b.binary)
	b.must(err)
	defer file.Close()
	libraries, err := file.ImportedLibraries()
	b.must(err)
	needs, symbols := len(libraries), 0
	for _, part := range file.Progs {
		if part.Type == elf.PT_INTERP {
			needs++
		}
	}
	for _, section := range file.Sections {
		if section.Type == elf.SHT_SYMTAB || strings.HasPrefix(section.Name, ".debug_") || strings.HasPrefix(section.Name, ".zdebug_") {
			symbols++
		}
	}
	b.add(row{what: "Shared libraries and loaders that it needs: it is static", got: float64(needs), target: atMost(0)})
	b.add(row{what: "Tables of symbols left in it: it is stripped", got: float64(symbols), target: atMost(0)})
}

// coldStart measures the time from the start on an empty data directory until the sign-in
// page is answered. The system has the binary cached in memory.
func (b *bench) coldStart() {
	for _, one := range []struct {
		command, host string // host is the portal's; "" means the address at which it listens
		limit         time.Duration
	}{{"serve", "", 300 * time.Millisecond}, {"demo", "portal.localhost", 2 * time.Second}} {
		var took []time.Duration
		for range startsCount {
			b.within(func() {
				at := testkit.FreeAddress(b.stage)
				_, port, _ := strings.Cut(at, ":")
				host := at
				if one.host != "" {
					host = one.host + ":" + port
				}
				args, environ := []string{one.command}, []string{"SALLYPORT_LISTEN=" + at, "SALLYPORT_DATA_DIR=" + b.TempDir()}
				if one.command == "demo" {
					args, environ = append(args, "--listen", at), nil
				}
				p := b.start(b.cores.server, environ, b.binary, args...)
				took = append(took, p.await(func() bool { return answers("http://"+at+"/login", host) }))
			})
		}
		b.add(row{what: one.command + " until its sign-in page is answered", unit: "ms", got: milliseconds(median(took)), target: atMost(milliseconds(one.limit))})
	}
}

var asset = regexp.MustCompile(`(?:href|src)="(/static/[^"]+)"`)

// atRest measures memory when idle and with 64 connections, and the bytes that a browser
// receives for the first page.
func (b *bench) atRest() {
	t := b.newPopulation()
	t.growTo(1)
	g := b.startGate(t.dir, "")
	time.Sleep(b.idle)
	b.add(row{what: "Memory, idle", unit: "MB", got: g.resident() / MB, target: atMost(25)})

	first, err := get("http://"+g.at+"/login", portalHost)
	b.must(err)
	sent := len(first)
	found := asset.FindAllSubmatch(first, -1)
	for _, one := range found {
		file, err := get("http://"+g.at+string(one[1]), portalHost)
		b.must(err)
		sent += len(file)
	}
	b.add(row{what: fmt.Sprintf("First view: /login and its %d files", len(found)), unit: "kB", got: float64(sent) / kB, target: atMost(40)})

	known := endpoint{"Sallyport", g.process, g.at, always(forwardAuthRequest("Cookie", visitCookie+"="+tokenOf("visit", 0))), http.StatusOK}
	b.saturate(b.maxConnections(), known)
	b.add(row{what: fmt.Sprintf("Memory under %d connections that ask with a valid visit", b.maxConnections()), unit: "MB", got: g.resident() / MB, target: atMost(45)})

	// The memory of a password hash is released only later, so measure again after a sign-in.
	g, _ = b.withAda("")
	known = endpoint{"Sallyport", g.process, g.at, always(forwardAuthRequest("Cookie", g.visit(forwardAuthPanel))), http.StatusOK}
	b.saturate(b.maxConnections(), known)
	b.add(row{what: "The same after a sign-in, which hashed a password in 19 MiB", unit: "MB", got: g.resident() / MB})
}
