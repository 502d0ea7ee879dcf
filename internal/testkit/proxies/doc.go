// Package proxies starts the real proxies that operators run. Each one uses its unchanged file
// from deploy/proxy.
package proxies
