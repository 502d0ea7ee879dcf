// Package proxies starts real proxies, each with its unchanged file of deploy/proxy.
package proxies
