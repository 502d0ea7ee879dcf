// Package proxies starts the real proxies that operators run, each with its file of
// deploy/proxy as it stands.
package proxies
