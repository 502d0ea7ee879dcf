package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxPEM is the maximum number of bytes read from a file, far more than a chain of certificates has.
const maxPEM = 1 << 20

// readPairs reads the files and returns a certificate for each host in settings.Hosts, and for
// each host in settings.Others that a pair is for. The error is [Faults].
func readPairs(settings Settings) (hostCertificates, error) {
	var pairs []*tls.Certificate
	var faults Faults
	for i, pair := range settings.Pairs {
		one, name, err := readPair(pair)
		if err != nil {
			faults.add(fmt.Sprintf("tls.certificates[%d].%s", i, name), "%v", err)
			continue
		}
		pairs = append(pairs, one)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	read := hostCertificates{}
	name := func(host string) bool {
		for _, one := range pairs {
			if one.Leaf.VerifyHostname(host) == nil {
				read[host] = one
				return true
			}
		}
		return false
	}
	for _, host := range settings.Hosts {
		if !name(host) {
			faults.add("tls.certificates", "no certificate is for %s; add a pair that is, or have one reissued with that host", host)
		}
	}
	for _, host := range settings.Others {
		name(host)
	}
	read[""] = read[settings.Hosts[0]]
	return read, faults.orNil()
}

// readPair reads one pair. If it returns an error, name is that of the faulty setting, "cert" or
// "key". The error never quotes the key.
func readPair(pair Pair) (one *tls.Certificate, name string, err error) {
	cert, _, err := readPEM(pair.Cert)
	if err != nil {
		return nil, "cert", Unreadable(err)
	}
	key, info, err := readPEM(pair.Key)
	if err != nil {
		return nil, "key", Unreadable(err)
	}
	if err := checkKeyMode(pair.Key, info); err != nil {
		return nil, "key", err
	}
	both, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, "cert", fmt.Errorf("%s and %s don't belong together: %w; name the certificate, with its chain, and the key that it was made for", pair.Cert, pair.Key, err)
	}
	return &both, "", nil
}

// Unreadable adds advice for the operator to err, an error of reading a PEM file.
func Unreadable(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; write the path of a PEM file, in which ~ and $ aren't expanded", err)
	}
	return fmt.Errorf("%w; make the file readable by the user that runs Sallyport", err)
}

func readPEM(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of the open file, since the name may belong to another file by now
	if err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPEM))
	return text, info, err
}

// checkKeyMode refuses a key that other users of this machine may read. If root owns the
// file, its group may read it: that is how tools that run as root give a key to the
// server.
func checkKeyMode(path string, info fs.FileInfo) error {
	others := fs.FileMode(0o077)
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid == 0 {
		others = 0o027
	}
	if info.Mode().Perm()&others != 0 {
		return fmt.Errorf("%s is a private key that others on this machine may read; run: chmod 600 %[1]s (or 640, where root owns it and its group is the server's)", path)
	}
	return nil
}
