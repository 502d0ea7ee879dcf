package server

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/certs"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// Some faults of a configuration show only when it is used: those of files, addresses and the
// database. The functions below return them as [config.Faults], which name the key. The command
// line adds the number of the key's line in the file, and exits with the code that tells service
// managers not to restart the server.

// faultAt returns one fault of the configuration, at the given key.
func faultAt(key, format string, args ...any) config.Faults {
	return config.Faults{{Key: key, Text: fmt.Sprintf(format, args...)}}
}

// joinFaults returns the faults in errs as one error, or nil. If an error in errs isn't
// [config.Faults], it returns only that error.
func joinFaults(errs ...error) error {
	var all config.Faults
	for _, err := range errs {
		var faults config.Faults
		switch {
		case errors.As(err, &faults):
			all = append(all, faults...)
		case err != nil:
			return err
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// certificateFaults returns err as faults of the configuration if it says what is wrong with
// certificates, and otherwise unchanged.
func certificateFaults(err error) error {
	var found certs.Faults
	if !errors.As(err, &found) {
		return err
	}
	var faults config.Faults
	for _, one := range found {
		faults = append(faults, config.Fault{Key: one.Setting, Text: one.Text})
	}
	return faults
}

// CheckAll is [Check], and checks the certificate files too.
func CheckAll(cfg config.Config, now time.Time) error {
	return joinFaults(Check(cfg), certificateFaults(certs.Check(certificatesOf(cfg), now)))
}

// Warnings returns the probable mistakes in a configuration that has no faults.
func Warnings(cfg config.Config) config.Faults {
	warnings := cfg.Warnings()
	if refusesEveryRequest(cfg) {
		warnings = append(warnings, faultAt("public_url", "%s is https, but neither tls nor trusted_proxies is set, so %s", cfg.PublicURL, refusesAll)...)
	}
	return warnings
}

// refusesEveryRequest reports whether neither Sallyport nor a trusted proxy terminates TLS.
func refusesEveryRequest(cfg config.Config) bool {
	return cfg.PublicURL.Scheme == "https" && !cfg.TerminatesTLS() && len(cfg.TrustedProxies) == 0
}

// refusesAll says what happens, and what to do, in the case of [refusesEveryRequest].
const refusesAll = "every request will be refused: name your proxy in trusted_proxies, or set tls"

// ownerAdvice says what to do about a directory that belongs to another user.
const ownerAdvice = "name a directory that belongs to the user that runs Sallyport, or give this one to that user: chown -R sallyport %s"

// databaseFault returns err, an error of opening the database, as a fault of the setting
// that causes it. It returns err unchanged if a later try may succeed, for example because
// PostgreSQL is unreachable.
func databaseFault(cfg config.Config, err error) error {
	switch {
	case err == nil:
		return nil
	case cfg.Database.Reveal() == "" && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR)):
		return faultAt("data_dir", "%v; "+ownerAdvice, err, cfg.DataDir)
	case cfg.Database.Reveal() != "" && db.IsMisconfigured(err):
		return faultAt("database", "%v", err)
	}
	return err
}

// withCause joins err with cause if err is a fault, since a fault has only the text of its cause. The
// command line examines the cause, to name the owner of the file that couldn't be opened.
func withCause(err, cause error) error {
	if errors.As(err, new(config.Faults)) {
		return errors.Join(err, cause)
	}
	return err
}

// ringFault returns err, an error of reading the key ring, as a fault of the setting that causes it,
// or unchanged. A key_ring_command that failed may succeed at the next try, so it is a fault only if
// the command can't be executed.
func ringFault(err error) error {
	if text, found := strings.CutPrefix(err.Error(), "key_ring: "); found {
		return faultAt("key_ring", "%s", text)
	}
	if errors.Is(err, secret.ErrOthersRead) {
		return faultAt("data_dir", "%v", err)
	}
	text, found := strings.CutPrefix(err.Error(), "key_ring_command: ")
	if found && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
		return faultAt("key_ring_command", "%s; write the absolute path of a program that prints it", text)
	}
	return err
}

// listenFault returns err, an error of listening at the address in the setting key. If no later try
// can succeed, the result is a fault of that setting.
func listenFault(key string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return faultAt(key, "%v: only root may use ports below 1024; write a higher port and leave 443 to a proxy, or allow the service to use it: systemctl edit sallyport, with AmbientCapabilities=CAP_NET_BIND_SERVICE, CapabilityBoundingSet=CAP_NET_BIND_SERVICE and PrivateUsers=no below [Service]", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return faultAt(key, "%v: this machine doesn't have that address; write one that \"ip address\" shows", err)
	}
	return fmt.Errorf("listen: %w; set %s to a free address, or stop the program that uses this one: ss -ltnp shows it", err, key)
}
