package db

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// connectError says why a connection failed. pgx's text names the user and the
// database and quotes the server; connectError names only the servers.
type connectError struct {
	hosts  string // hosts and ports
	reason string
	err    error
}

func (e *connectError) Error() string { return "connect to " + e.hosts + ": " + e.reason }
func (e *connectError) Unwrap() error { return e.err }

// withoutCredentials returns a [connectError] if connecting failed, and any other
// error as it is.
func withoutCredentials(err error) error {
	var failed *pgconn.ConnectError
	if !errors.As(err, &failed) {
		return err
	}
	var hosts []string
	add := func(host string, port uint16) {
		if address := net.JoinHostPort(host, fmt.Sprint(port)); !slices.Contains(hosts, address) {
			hosts = append(hosts, address)
		}
	}
	add(failed.Config.Host, failed.Config.Port)
	for _, other := range failed.Config.Fallbacks {
		add(other.Host, other.Port)
	}
	return &connectError{strings.Join(hosts, ", "), connectReason(err), err}
}

// PostgreSQL's codes in words that name neither user nor database, and advice for
// those that only PostgreSQL's administrator can mend.
var (
	reasons = map[string]string{
		"28P01": "the password, or the user's name, is wrong",
		"28000": "this user may not connect from here, or doesn't exist",
		"3D000": "there is no such database",
		"42501": "this user may not use the database",
		"53300": "it has too many connections",
		"57P03": "it is starting or stopping",
	}
	advice = map[string]string{
		"28P01": "; to create the user, as PostgreSQL's own user: createuser --pwprompt sallyport",
		"28000": "; to create the user, as PostgreSQL's own user: createuser --pwprompt sallyport",
		"3D000": "; to create it, as PostgreSQL's own user: createdb --owner=sallyport sallyport",
		"42501": "; to allow it, as PostgreSQL's own user: psql -c 'ALTER DATABASE sallyport OWNER TO sallyport', or for a new one: createdb --owner=sallyport sallyport",
	}
)

// IsMisconfigured reports whether PostgreSQL answered that it has no such user or
// database, or that the user has too few rights. A retry won't help.
func IsMisconfigured(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && advice[answer.Code] != ""
}

// connectReason returns why a connection failed, in words that name neither user
// nor database.
func connectReason(err error) string {
	var (
		answer    *pgconn.PgError
		dns       *net.DNSError
		dial      *net.OpError
		untrusted *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &answer):
		reason := reasons[answer.Code]
		if reason == "" {
			reason = "it refuses the connection"
		}
		return reason + " (SQLSTATE " + answer.Code + ")" + advice[answer.Code]
	case errors.As(err, &dns):
		return dns.Err
	case errors.As(err, &untrusted):
		return untrusted.Error()
	case errors.As(err, &dial) && dial.Err != nil:
		return dial.Err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case strings.Contains(err.Error(), "read only connection"):
		return "it is read only, as a standby is"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "it ended the connection"
	default:
		return "the connection failed; PostgreSQL's own log says more"
	}
}
