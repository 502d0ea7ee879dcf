package server_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/testkit"
)

// secureHost is the portal's host in the tests in which it terminates TLS itself.
const secureHost = "auth.test"

// handshake returns conn as a TLS connection that offers these ALPN protocols.
func handshake(t *testing.T, conn net.Conn, protocols ...string) *tls.Conn {
	t.Helper()
	// A synctest bubble begins in 2000, before the certificate is valid.
	secure := tls.Client(conn, &tls.Config{ServerName: secureHost, InsecureSkipVerify: true, NextProtos: protocols})
	if err := secure.Handshake(); err != nil {
		t.Error(err)
	}
	return secure
}

// frame returns an HTTP/2 frame (RFC 9113, section 4.1).
func frame(kind, flags byte, stream uint32, payload string) string {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return string(binary.BigEndian.AppendUint32(append(head, flags), stream)) + payload
}

const (
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	// HPACK (RFC 7541): method GET, scheme https, path /, and the authority as a literal.
	getHead = "\x82\x87\x84\x41\x09" + secureHost
)

// TestAttack149SlowClientsOfTLS tests clients that are slow in the phases that TLS and HTTP/2 add.
func TestAttack149SlowClientsOfTLS(t *testing.T) {
	settings, opened := frame(4, 0, 0, ""), frame(1, 5, 1, getHead)
	for name, test := range map[string]struct {
		client func(t *testing.T, conn net.Conn) // returns when the connection is closed
		want   time.Duration
	}{
		"sends nothing": {func(_ *testing.T, conn net.Conn) { io.Copy(io.Discard, conn) }, 10 * time.Second},
		"slow ClientHello": {func(_ *testing.T, conn net.Conn) {
			drip(conn, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
		}, 10 * time.Second},
		"nothing after the handshake": {func(t *testing.T, conn net.Conn) { io.Copy(io.Discard, handshake(t, conn)) }, 10 * time.Second},
		"slow headers": {func(t *testing.T, conn net.Conn) {
			drip(handshake(t, conn), "GET /login HTTP/1.1\r\nHost: "+secureHost+"\r\nX-Slow: ")
		}, 10 * time.Second},
		"HTTP/2, nothing after the handshake": {func(t *testing.T, conn net.Conn) { io.Copy(io.Discard, handshake(t, conn, "h2")) }, 10 * time.Second},
		"HTTP/2, slow headers": {func(t *testing.T, conn net.Conn) {
			drip(handshake(t, conn, "h2"), preface+settings+frame(1, 4, 1, getHead+strings.Repeat("x", 1000))[:len(settings)+len(getHead)])
		}, 2 * time.Minute},
		"HTTP/2, idle after an answer": {func(t *testing.T, conn net.Conn) {
			secure := handshake(t, conn, "h2")
			go io.WriteString(secure, preface+settings+opened)
			io.Copy(io.Discard, secure)
		}, 2 * time.Minute},
		"HTTP/2, reads nothing": {func(t *testing.T, conn net.Conn) {
			secure := handshake(t, conn, "h2")
			io.WriteString(secure, preface+settings+opened)
			drip(&unread{secure}, "")
		}, time.Minute + 5*time.Second}, // crypto/tls waits 5 s for its close_notify to be written
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cert, key := testkit.NewCA(t).Issue(dir, "own", secureHost)
			file := filepath.Join(dir, "sallyport.yaml")
			text := fmt.Sprintf("public_url: https://%s\ntls: {certificates: [{cert: '%s', key: '%s'}]}\n", secureHost, cert, key)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				cfg, err := config.Load(file, []string{"SALLYPORT_DATA_DIR=" + dir})
				if err != nil {
					t.Fatal(err)
				}
				testSlowClient(t, cfg, test.client, test.want, 3*time.Second, func(network *pipeListener, t *testing.T) bool {
					quick := handshake(t, network.dial())
					defer quick.Close()
					io.WriteString(quick, "GET /login HTTP/1.1\r\nHost: "+secureHost+"\r\nConnection: close\r\n\r\n")
					resp, err := http.ReadResponse(bufio.NewReader(quick), nil)
					return err == nil && resp.StatusCode == http.StatusOK
				})
			})
		})
	}
}

// unread is a connection to a client that doesn't read.
type unread struct{ net.Conn }

func (unread) Read([]byte) (int, error) { return 0, io.EOF }
