// Package certs provides the certificates of a listener that speaks TLS itself.
//
// They come from one of two sources:
//
//   - pairs of PEM files, which are read again when they change (pairs.go);
//     faulty files leave the earlier certificates in force;
//   - a CA that speaks ACME (RFC 8555): authority.go asks it for missing
//     certificates, and kept.go stores them in a directory.
//
// [New] takes plain settings. [Certificates.Begin] reads the files at a start, [Certificates.Use]
// takes other settings at a reload, and a job calls [Certificates.Watch] every [WatchEvery]. A
// client that names a host gets that host's certificate, or a TLS alert if the host has no
// certificate, and never the certificate of another host.
//
// Only that job asks the CA, never a connection: otherwise strangers could use up
// what the CA grants.
package certs
