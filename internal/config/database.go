package config

import (
	"errors"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// Faults of a database URL. They contain no part of the URL: if a password contains
// delimiters of URLs, it is unknown which part of the text is the password.
var (
	errDatabaseScheme = errors.New("must be a postgres:// or postgresql:// URL, or empty for the SQLite file in data_dir")
	errDatabaseSigns  = errors.New("isn't a URL; percent-encode the characters in the password that aren't letters or digits: @ is %40, / is %2F, ? is %3F, # is %23")
	errDatabaseHost   = errors.New("has no host before the port, or an invalid one; write postgres://name:password@host:5432/database, with special characters in the password percent-encoded")
	errDatabaseNone   = errors.New("names neither a user nor a database; write postgres://name:password@host:5432/database, in quotes if the password contains a number sign or a colon")
	errDatabaseQuery  = errors.New("has an unknown or repeated parameter after the ?; percent-encode special characters in a password there: & is %26, + is %2B")
)

// databaseParameters returns the parameters that a database URL may have: those of the
// driver, and some that PostgreSQL accepts when a connection starts. Others are refused: an
// unknown parameter may be the rest of a password that contains an unencoded "&", and the
// driver would send it to the server.
func databaseParameters() []string {
	return []string{
		"host", "port", "user", "password", "dbname", "database", "passfile", "service", "servicefile", "connect_timeout",
		"sslmode", "sslkey", "sslcert", "sslcertmode", "sslrootcert", "sslpassword", "sslsni", "sslnegotiation",
		"krbspn", "krbsrvname", "target_session_attrs", "min_protocol_version", "max_protocol_version", "channel_binding", "require_auth",
		"application_name", "options", "search_path", "timezone", "client_encoding", "lock_timeout", "idle_session_timeout", "work_mem",
	}
}

// checkDatabase returns an error if text isn't the URL of a database, or is ambiguous. In
// an ambiguous URL the driver might take a part of the password for the host, which would
// send it to DNS and to logs.
func checkDatabase(text string) error {
	if text == "" {
		return nil
	}
	rest, found := strings.CutPrefix(text, "postgres://")
	if !found {
		if rest, found = strings.CutPrefix(text, "postgresql://"); !found {
			return errDatabaseScheme
		}
	}
	if strings.Trim(rest, urlSigns) != "" {
		return errDatabaseSigns
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	user, hosts, named := strings.Cut(authority, "@")
	if !named {
		user, hosts = "", authority
	}
	for _, part := range []string{hosts, database, query} {
		if strings.Contains(part, "@") {
			return errDatabaseSigns
		}
	}
	for _, part := range []string{user, hosts, database} {
		if _, err := url.PathUnescape(part); err != nil {
			return errDatabaseSigns
		}
	}
	switch {
	case strings.ContainsAny(user, "[]"), strings.Contains(database, "/"):
		return errDatabaseSigns
	case !areHosts(hosts):
		return errDatabaseHost
	case !named && database == "" && query == "":
		return errDatabaseNone
	}
	return checkDatabaseQuery(query)
}

// urlSigns are the characters of a URL (RFC 3986) except "#".
const urlSigns = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/?[]@!$&'()*+,;=%"

func checkDatabaseQuery(query string) error {
	if query == "" {
		return nil
	}
	values, err := url.ParseQuery(query)
	if err != nil || strings.Contains(query, "+") { // some parsers take "+" for a space
		return errDatabaseQuery
	}
	for key, all := range values {
		if len(all) > 1 || !slices.Contains(databaseParameters(), key) {
			return errDatabaseQuery
		}
	}
	if host := values.Get("host"); !filepath.IsAbs(host) && !areHosts(host) {
		return errDatabaseHost
	}
	if strings.Trim(values.Get("port"), "0123456789,") != "" {
		return errDatabaseHost
	}
	return nil
}

// areHosts reports whether text is one host or several separated by commas, each with or
// without a port. Empty text, which means this machine, is accepted too.
func areHosts(text string) bool {
	return text == "" || !slices.ContainsFunc(strings.Split(text, ","), func(one string) bool { return !isHostPort(one) })
}

func isHostPort(text string) bool {
	if socket, err := url.PathUnescape(text); err == nil && strings.HasPrefix(socket, "/") {
		return true
	}
	host, port := text, ""
	if i := strings.LastIndexByte(text, ':'); i > strings.LastIndexByte(text, ']') {
		host, port = text[:i], text[i+1:]
		if !isPort(port) {
			return false
		}
	}
	if inner, found := strings.CutPrefix(host, "["); found {
		addr, err := netip.ParseAddr(strings.ReplaceAll(strings.TrimSuffix(inner, "]"), "%25", "%"))
		return err == nil && addr.Is6() && strings.HasSuffix(host, "]")
	}
	const name = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"
	return host != "" && strings.Trim(host, name) == ""
}
