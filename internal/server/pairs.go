package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/sallyport/sallyport/internal/config"
)

// maxPEM is far above any chain of certificates.
const maxPEM = 1 << 20

// readPairs reads the files and returns a certificate for each host that ends
// its TLS here, and for others that one names. The error says all that is wrong.
func readPairs(cfg config.Config) (hostCertificates, error) {
	var pairs []*tls.Certificate
	var faults []error
	for i, pair := range cfg.TLS.Certificates {
		one, err := readPair(pair)
		if err != nil {
			faults = append(faults, fmt.Errorf("tls.certificates[%d]: %w", i, err))
			continue
		}
		pairs = append(pairs, one)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
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
	for _, host := range servedHosts(cfg) {
		if !name(host) {
			faults = append(faults, fmt.Errorf("tls.certificates: none names %s; add a pair that does, or name the host in one", host))
		}
	}
	for _, p := range cfg.Panels {
		name(p.URL.Hostname()) // its proxy may ask here by TLS
	}
	read[""] = read[servedHosts(cfg)[0]]
	return read, errors.Join(faults...)
}

// readPair reads one pair. Nobody's error repeats what is in the key.
func readPair(pair config.Pair) (*tls.Certificate, error) {
	cert, _, err := readPEM(pair.Cert)
	if err != nil {
		return nil, err
	}
	key, info, err := readPEM(pair.Key)
	if err != nil {
		return nil, err
	}
	if err := checkKeyMode(pair.Key, info); err != nil {
		return nil, err
	}
	one, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s are no pair: %w", pair.Cert, pair.Key, err)
	}
	return &one, nil
}

func readPEM(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, not of what has the name by now
	if err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPEM))
	return text, info, err
}

// checkKeyMode refuses a key that others on this machine may read. One of
// root's may be read by its group, the server's: that is how it gets there.
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
