package server

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// What is wrong with a configuration that only its use shows: files, addresses, the
// database. Such errors are [config.Faults], which name the key; the command line knows
// its line, and ends with the exit code after which no service manager tries again.

// faultAt returns a fault of the configuration at a key.
func faultAt(key, format string, args ...any) config.Faults {
	return config.Faults{{Key: key, Text: fmt.Sprintf(format, args...)}}
}

// joinFaults returns all faults of errs as one error; what is no fault comes first.
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

// CheckAll returns all faults of a configuration whose values are right, those of its
// files among them.
func CheckAll(cfg config.Config, now time.Time) error {
	return joinFaults(Check(cfg), CheckCertificates(cfg, now))
}

// Warnings are what is likely to be wrong with a configuration that is in order.
func Warnings(cfg config.Config) config.Faults {
	if cfg.PublicURL.Scheme == "https" && !cfg.OwnTLS() && len(cfg.TrustedProxies) == 0 {
		return faultAt("public_url", "%s is https, but neither tls nor trusted_proxies is set, so %s", cfg.PublicURL, refusesAll)
	}
	return nil
}

// refusesAll is what follows where https comes from nobody who is trusted.
const refusesAll = "every request will be refused: name your proxy in trusted_proxies, or set tls"

// ownerAdvice is what to do about a directory that isn't ours.
const ownerAdvice = "name a directory that belongs to the user that runs Sallyport, or give this one to that user: chown -R sallyport %s"

// whyNoDatabase returns err of opening the database as a fault of the setting that it
// follows from. What may pass, such as a database that is away, stays as it is.
func whyNoDatabase(cfg config.Config, err error) error {
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

// withCause returns why, and where it is a fault its cause too: the command line asks
// whose the file is that couldn't be opened.
func withCause(why, cause error) error {
	if errors.As(why, new(config.Faults)) {
		return errors.Join(why, cause)
	}
	return why
}

// whyNoRing returns err of opening the key ring as a fault of the setting that names it. A
// command that fails may succeed the next time, so that only one that isn't there is a
// fault.
func whyNoRing(err error) error {
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

// whyNoListener returns err of listening at the address of key as a fault of the
// configuration, unless it may pass.
func whyNoListener(key string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return faultAt(key, "%v: only root may use ports below 1024; write a higher port and leave 443 to a proxy, or allow the service to use it: systemctl edit sallyport, with AmbientCapabilities=CAP_NET_BIND_SERVICE, CapabilityBoundingSet=CAP_NET_BIND_SERVICE and PrivateUsers=no below [Service]", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return faultAt(key, "%v: this machine doesn't have that address; write one that \"ip address\" shows", err)
	}
	return fmt.Errorf("listen: %w; set %s to a free address, or stop the program that uses this one: ss -ltnp shows it", err, key)
}
