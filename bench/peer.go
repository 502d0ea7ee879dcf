package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// peer is another portal, which the user of this program has started.
type peer struct {
	name, at string
	known    []byte // a request with all given headers, which the peer admits
	stranger []byte // the same request without Cookie and Authorization
}

// readPeers parses peers in the form NAME=URL. file, if not empty, is the path of a file with the
// headers to send to all of them.
func readPeers(named []string, file string) ([]peer, error) {
	var known, stranger []string
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			name, value, found := strings.Cut(strings.TrimSpace(line), ":")
			if !found {
				continue
			}
			known = append(known, name, strings.TrimSpace(value))
			if !strings.EqualFold(name, "Cookie") && !strings.EqualFold(name, "Authorization") {
				stranger = append(stranger, name, strings.TrimSpace(value))
			}
		}
	}
	var all []peer
	for _, text := range named {
		name, raw, _ := strings.Cut(text, "=")
		at, err := url.Parse(raw)
		if err != nil || name == "" || at.Scheme != "http" || at.Port() == "" {
			return nil, fmt.Errorf("-peer %s: want NAME=http://HOST:PORT/PATH", text)
		}
		all = append(all, peer{
			name: name, at: at.Host,
			known: request(at.RequestURI(), at.Host, known...), stranger: request(at.RequestURI(), at.Host, stranger...),
		})
	}
	return all, nil
}

// process finds the peer's process and moves it to the server's core.
func (p peer) process(b *bench) *process {
	_, port, err := net.SplitHostPort(p.at)
	b.must(err)
	number, err := strconv.Atoi(port)
	b.must(err)
	id, err := listenerAt(number)
	b.must(err)
	if b.cores.pinned {
		b.must(pin(id, b.cores.server))
	}
	return &process{stage: b.stage, id: id}
}
