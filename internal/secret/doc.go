// Package secret owns what must not leak: the key ring, sealing and opening
// of stored secrets, tokens that are shown once and stored hashed, and text
// that prints as "[redacted]". It owns no table.
package secret
