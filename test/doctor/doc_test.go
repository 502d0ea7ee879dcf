// Package doctor tests what the doctor command finds behind real proxies that are
// configured well, and badly.
package doctor
