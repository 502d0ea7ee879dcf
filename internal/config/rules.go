package config

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxNameRunes is the greatest length of a site's or panel's name. Such a name fits
	// on one line of a phone, and keeps the key URI in the QR code short.
	maxNameRunes = 40

	// shortestSession is the shortest time that is enough to get from one page to the next.
	shortestSession = Duration(time.Second)

	// longestDrain, together with the time for requests in progress, is less than the 90
	// seconds after which systemd kills a service that it stops.
	longestDrain = Duration(time.Minute)

	// shortestAudit keeps a mistake, such as 400s for 400d, from deleting nearly all
	// events.
	shortestAudit = Duration(day)

	// leastMinLength is the least length that NIST SP 800-63B-4 allows for a password with
	// a second factor. mostMinLength is a length that every verifier must accept.
	leastMinLength = 8
	mostMinLength  = 64

	// minMemoryKiB, 19 MiB, is the least memory that OWASP recommends for Argon2id with
	// two iterations. maxMemoryKiB, 1 GiB, and maxIterations keep one sign-in from
	// exhausting a small machine.
	minMemoryKiB  = 19456
	maxMemoryKiB  = 1 << 20
	maxIterations = 10

	// leastBackup and mostBackups keep a mistake in the unit of time from filling the disk
	// with copies of the database.
	leastBackup = Duration(time.Hour)
	mostBackups = 1000

	// leastHeaderKiB is enough for a browser with a few cookies. mostHeaderKiB limits the
	// memory that an unauthenticated connection can occupy.
	leastHeaderKiB = 16
	mostHeaderKiB  = 1024
)

// brokenRule is a rule that a configuration breaks.
type brokenRule struct {
	keys []string // the keys that the rule is about; the fault is reported at the first one that is set
	text string
}

// resolve returns c with the values that follow from other keys, and the rules that it
// breaks. isSet reports whether a key was set.
func resolve(c Config, isSet func(key string) bool) (Config, []brokenRule) {
	var faults []brokenRule
	fault := func(err error, keys ...string) {
		if err != nil {
			faults = append(faults, brokenRule{keys, err.Error()})
		}
	}
	host, port, err := splitListen(c.Listen)
	fault(err, "listen")
	if err == nil && c.PublicURL == (Origin{}) {
		if c.PublicURL, err = originOf(host, port); err != nil {
			fault(errors.New("must be set, since browsers can't use the address in listen"), "public_url", "listen")
		}
	}
	if c.MetricsListen != "" {
		_, _, err := splitListen(c.MetricsListen)
		if err == nil && c.MetricsListen == c.Listen {
			err = errors.New("is the portal's own address; choose another port")
		}
		fault(err, "metrics_listen", "listen")
	}
	if c.Drain > longestDrain {
		fault(fmt.Errorf("%s is longer than a minute; write 1m or less, since service managers kill a server that takes longer to stop", c.Drain), "drain")
	}
	if c.DataDir == "" || strings.ContainsRune(c.DataDir, 0) {
		fault(errors.New("must name a directory"), "data_dir")
	}
	checkDirectories(c, fault)
	if len(c.KeyRingCommand) > 0 {
		fault(checkCommand(c.KeyRingCommand), "key_ring_command")
		if c.KeyRing.Credential != "" {
			fault(errors.New("names one source of the key ring, and key_ring another; keep one"), "key_ring_command", "key_ring")
		}
	}
	fault(checkDatabase(c.Database.Reveal()), "database")
	fault(checkDatabase(c.DatabaseDirect.Reveal()), "database_direct")
	if c.Pooler && c.Database.Reveal() == "" {
		fault(errors.New("is for PostgreSQL only; set database too"), "pooler", "database")
	}
	if c.DatabaseDirect.Reveal() != "" && !c.Pooler {
		fault(errors.New("is the URL past a pooler; set pooler: true too"), "database_direct", "pooler")
	}
	fault(checkName(c.SiteName), "site_name")
	fault(checkPicture(c.Logo), "logo")
	checkAccent(c, fault)

	if c.Session.Idle < shortestSession {
		fault(fmt.Errorf("%s is shorter than a second", c.Session.Idle), "session.idle")
	}
	if c.Session.Absolute < shortestSession {
		fault(fmt.Errorf("%s is shorter than a second", c.Session.Absolute), "session.absolute")
	}
	if c.Session.Idle > c.Session.Absolute {
		fault(fmt.Errorf("session.idle (%s) is longer than session.absolute (%s)", c.Session.Idle, c.Session.Absolute),
			"session.idle", "session.absolute")
	}
	fault(checkRange(c.Password.MinLength, leastMinLength, mostMinLength), "password.min_length")
	fault(checkRange(c.Password.MemoryKiB, minMemoryKiB, maxMemoryKiB), "password.memory_kib")
	fault(checkRange(c.Password.Iterations, 1, maxIterations), "password.iterations")
	checkMail(c, fault)
	checkWebhook(c, fault)
	if c.Audit.Keep != 0 && c.Audit.Keep < shortestAudit {
		fault(fmt.Errorf("%s is shorter than a day; write 0 to keep events for ever", c.Audit.Keep), "audit.keep")
	}
	if c.Backup.Every != 0 && c.Backup.Every < leastBackup {
		fault(fmt.Errorf("%s is shorter than an hour; write 0s for no backups", c.Backup.Every), "backup.every")
	}
	if c.Backup.Every != 0 && c.Database.Reveal() != "" {
		fault(errors.New("copies the SQLite file only; with PostgreSQL write 0s and use pg_dump"), "backup.every", "database")
	}
	fault(checkRange(c.Backup.Keep, 1, mostBackups), "backup.keep")
	if strings.ContainsRune(c.Backup.Dir, 0) {
		fault(errors.New("must name a directory"), "backup.dir")
	}
	fault(checkRange(c.MaxHeaderKiB, leastHeaderKiB, mostHeaderKiB), "max_header_kib")
	c = withUpstream(c, fault)
	checkPanels(c, isSet, fault)
	checkPolicy(c, isSet, fault)
	checkTLS(c, fault)
	return c, faults
}

func checkRange(n, low, high int) error {
	if n < low || n > high {
		return fmt.Errorf("%d is outside %d to %d", n, low, high)
	}
	return nil
}

func checkCommand(command []string) error {
	if !filepath.IsAbs(command[0]) {
		// With a search path, every user with write access to one of its folders could
		// choose the program.
		return fmt.Errorf("%s isn't the absolute path of a program", quote(command[0]))
	}
	for _, word := range command {
		if strings.ContainsRune(word, 0) || !utf8.ValidString(word) {
			return errors.New("contains a character that arguments can't contain; remove it")
		}
	}
	return nil
}

// checkName returns an error unless pages and authenticator apps can show the whole name.
func checkName(name string) error {
	switch n := utf8.RuneCountInString(name); {
	case n == 0 || n > maxNameRunes:
		return fmt.Errorf("must be 1 to %d characters, not %d", maxNameRunes, n)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%s contains characters that can't be printed; remove them", quote(name))
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("%s begins or ends with a space; remove it", quote(name))
	}
	return nil
}

// holdsPassword reports whether a database URL contains a password. It returns true for a
// URL that can't be parsed, which may contain one.
func holdsPassword(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return true
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return true
	}
	_, set := u.User.Password()
	// Parameters of libpq; sslpassword decrypts the client's key.
	return set || query.Has("password") || query.Has("sslpassword")
}
