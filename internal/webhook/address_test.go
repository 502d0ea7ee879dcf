package webhook

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
)

func TestWhichAddressesArePublic(t *testing.T) {
	for text, want := range map[string]bool{
		"1.1.1.1": true, "8.8.8.8": true, "9.255.255.255": true, "11.0.0.0": true, "100.63.255.255": true, "100.128.0.0": true,
		"126.255.255.255": true, "128.0.0.1": true, "169.253.255.255": true, "169.255.0.0": true, "172.15.255.255": true, "172.32.0.0": true,
		"192.0.1.1": true, "192.167.255.255": true, "192.169.0.0": true, "198.17.255.255": true, "198.20.0.0": true, "223.255.255.255": true,
		"2606:4700:4700::1111": true, "2a00:1450:4001:80b::200e": true, "2001:4860:4860::8888": true, "2620:fe::fe": true,
		"::ffff:8.8.8.8": true, "64:ff9b::8.8.8.8": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "100.64.0.1": false, "100.127.255.255": false, "100.100.100.200": false,
		"127.0.0.1": false, "127.255.255.254": false, "169.254.169.254": false, "169.254.170.2": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.0.0.1": false, "192.0.0.192": false, "192.0.2.1": false, "192.88.99.1": false, "192.168.0.1": false, "198.18.0.1": false,
		"198.19.255.255": false, "198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.255.255.250": false, "240.0.0.1": false, "255.255.255.255": false,

		"::": false, "::1": false, "::2": false, "::127.0.0.1": false, "::8.8.8.8": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:0.0.0.0": false, "::ffff:0:127.0.0.1": false,
		"64:ff9b::127.0.0.1": false, "64:ff9b::10.0.0.1": false, "64:ff9b::169.254.169.254": false, "64:ff9b::": false,
		"64:ff9b:1::1": false, "64:ff9b:1::8.8.8.8": false, "100::1": false, "100:0:0:1::1": false,
		"2001::1": false, "2001:0:4136:e378:8000:63bf:3fff:fdd2": false, "2001:2::1": false, "2001:10::1": false, "2001:20::1": false, "2001:db8::1": false,
		"2002:7f00:1::": false, "2002:808:808::1": false, "3fff::1": false, "3ffe::1": true, "4000::1": false, "5f00::1": false,
		"fc00::1": false, "fd00:ec2::254": false, "fd12:3456::1": false, "fe80::1": false, "fe80::1%eth0": false, "2606:4700:4700::1111%eth0": false,
		"fec0::1": false, "ff02::1": false, "ff0e::1": false,
	} {
		if got := CheckAddress("https", netip.MustParseAddr(text), nil) == nil; got != want {
			t.Errorf("isPublic(%s) = %v, want %v", text, got, want)
		}
	}
}

func TestNamedNetworks(t *testing.T) {
	networks := prefixes("10.1.0.0/16", "fd00::/8", "fe80::/10", "203.0.113.7/32")
	for _, test := range []struct {
		scheme, addr, want string
	}{
		{"http", "10.1.2.3", ""}, {"https", "10.1.2.3", ""}, {"http", "::ffff:10.1.2.3", ""}, {"http", "fd00::1", ""}, {"http", "fe80::1%eth0", ""}, {"http", "203.0.113.7", ""},
		{"https", "10.2.0.1", "isn't public"}, {"http", "10.2.0.1", "isn't public"}, {"https", "127.0.0.1", "isn't public"},
		{"https", "64:ff9b::10.1.2.3", "isn't public"}, {"https", "2002:a01:203::", "isn't public"},
		{"http", "8.8.8.8", "must begin with https://"}, {"https", "8.8.8.8", ""},
	} {
		err := CheckAddress(test.scheme, netip.MustParseAddr(test.addr), networks)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s to %s: %v, want %q", test.scheme, test.addr, err, test.want)
		}
	}
}

// dns starts a server that answers the n-th query for an IPv4 address with the n-th of addresses,
// and later queries with the last one. It returns a resolver that asks this server, and the number
// of queries.
func dns(t *testing.T, addresses ...string) (*net.Resolver, *atomic.Int32) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	testkit.Check(t, err)
	t.Cleanup(func() { conn.Close() })
	queries := new(atomic.Int32)
	go func() {
		for buffer := make([]byte, 1500); ; {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			end := 12 // the end of the header; the question follows: labels, type and class
			for end < n && buffer[end] != 0 {
				end += 1 + int(buffer[end])
			}
			end += 5
			answer := append([]byte(nil), buffer[:end]...)
			answer[2] |= 0x80                // this is an answer
			copy(answer[6:12], []byte{6: 0}) // no records
			if binary.BigEndian.Uint16(answer[end-4:]) == 1 {
				i := min(int(queries.Add(1)), len(addresses)) - 1
				answer[7] = 1
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4) // the name again, A, IN, TTL 0
				a := netip.MustParseAddr(addresses[i]).As4()
				answer = append(answer, a[:]...)
			}
			conn.WriteTo(answer, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}, queries
}

// The client must check the address that it connects to: a name may resolve to this machine, to a
// cloud's metadata service, or first to an allowed address and then to a private one.
func TestAttack163NamesThatLeadToPrivateAddresses(t *testing.T) {
	var requests atomic.Int32
	s := receive(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	send := func(networks string, answers ...string) (int32, error) {
		c := newClient(t, "http://hooks.example.com:"+port)
		c.Networks = prefixes(networks)
		var queries *atomic.Int32
		c.resolver, queries = dns(t, answers...)
		_, err := c.Send(t.Context(), "e1", now, nil)
		return queries.Load(), err
	}
	for _, address := range []string{"127.0.0.1", "0.0.0.0", "169.254.169.254", "10.0.0.1"} {
		_, err := send("192.0.2.0/24", address)
		var refused *AddressError
		if !errors.As(err, &refused) || refused.Addr.String() != address {
			t.Errorf("a name that resolves to %s: %v, want an AddressError for it", address, err)
		}
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests arrived, want none", n)
	}
	// The first answer is allowed and is used: there is no second query.
	queries, err := send("127.0.0.1/32", "127.0.0.1", "127.0.0.2")
	if err != nil || requests.Load() != 1 || queries != 1 {
		t.Errorf("a name that changes: %v, %d requests, %d queries; want nil, one request and one query", err, requests.Load(), queries)
	}
	// A later request makes a new connection, whose address is checked again.
	c := newClient(t, "http://hooks.example.com:"+port)
	c.Networks = prefixes("127.0.0.1/32")
	c.resolver, _ = dns(t, "127.0.0.1", "127.0.0.2")
	_, first := c.Send(t.Context(), "e1", now, nil)
	_, second := c.Send(t.Context(), "e2", now, nil)
	if first != nil || !errors.As(second, new(*AddressError)) || requests.Load() != 2 {
		t.Errorf("a name that changes between requests: %v, then %v, %d requests; want nil, then an AddressError, and 2", first, second, requests.Load())
	}
}

// An unusual spelling of an address, which some resolvers accept, is refused like the address, or
// isn't found.
func TestSpellingsOfLoopback(t *testing.T) {
	s := receive(t, func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") })
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	for _, host := range []string{"localhost", "localhost.", "127.0.0.1", "127.1", "0", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]"} {
		c := newClient(t, "http://"+host+":"+port)
		c.Networks = nil
		c.resolver, _ = dns(t, "127.0.0.1")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := c.Send(ctx, "e1", now, nil)
		cancel()
		if err == nil {
			t.Errorf("a request to %s returns no error, want one", host)
		}
	}
}
