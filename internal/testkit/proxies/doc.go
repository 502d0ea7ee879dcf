// Package proxies starts the real proxies that operators run, each with its unchanged file
// of deploy/proxy.
package proxies
