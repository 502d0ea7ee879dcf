package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is a certificate authority for one test. Its certificates are valid for years
// around [Start], unless [CA.IssueFor] sets another validity.
type CA struct {
	Roots *x509.CertPool
	PEM   []byte // the certificate of the CA itself
	t     testing.TB
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
}

const years = 365 * 24 * time.Hour

// NewCA returns a new authority. Only clients that have its Roots trust it.
func NewCA(t testing.TB) *CA {
	t.Helper()
	ca := &CA{t: t, Roots: x509.NewCertPool()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "CA of a test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, key := ca.sign(template, Start.Add(-10*years), Start.Add(10*years))
	var err error
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	ca.key, ca.PEM = key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	ca.Roots.AddCert(ca.cert)
	return ca
}

// sign makes a certificate and its key. The authority's key signs the certificate. If the
// authority has no key yet, this is its own certificate, which the new key signs.
func (ca *CA) sign(template *x509.Certificate, from, to time.Time) (der []byte, key *ecdsa.PrivateKey) {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		ca.t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = from, to
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer); err != nil {
		ca.t.Fatal(err)
	}
	return der, key
}

// Issue writes a certificate to FILE.pem in dir and its key to FILE.key, where FILE stands for
// the parameter file. It returns both paths. names are host names or IP addresses.
func (ca *CA) Issue(dir, file string, names ...string) (cert, key string) {
	ca.t.Helper()
	return ca.IssueFor(dir, file, Start.Add(-years), Start.Add(5*years), names...)
}

// IssueFor is like [CA.Issue] but with a given validity. It replaces existing files by new
// ones, as a renewal does.
func (ca *CA) IssueFor(dir, file string, from, to time.Time, names ...string) (cert, key string) {
	ca.t.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if address := net.ParseIP(name); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, private := ca.sign(template, from, to)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		ca.t.Fatal(err)
	}
	cert, key = filepath.Join(dir, file+".pem"), filepath.Join(dir, file+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			ca.t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			ca.t.Fatal(err)
		}
	}
	return cert, key
}
