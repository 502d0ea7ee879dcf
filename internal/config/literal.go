package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// inQuotes is the part of a message that says that a value [isQuoted].
const inQuotes = "has quotes around it, which no shell removed"

// isQuoted reports whether text is in one pair of quotes. Files for docker and podman
// (--env-file) are read without a shell, so that the quotes in them become a part of the value.
func isQuoted(text string) bool {
	n := len(text)
	return n > 1 && (text[0] == '"' || text[0] == '\'') && strings.IndexByte(text[1:], text[0]) == n-2
}

// shellNotation checks a path for notation that only a shell would interpret. It returns what is
// wrong with the path and what to do, or "" if the path has none. A path that begins with "./" is
// meant literally.
func shellNotation(path string) (what, advice string) {
	switch {
	case isQuoted(path):
		return inQuotes, "delete them"
	case strings.HasPrefix(path, "./"):
	case path == "~", strings.HasPrefix(path, "~/"), strings.HasPrefix(path, "$"), strings.Contains(path, "${"):
		return "is the notation of a shell, which isn't expanded here", "write the whole path, from / on"
	}
	return "", ""
}

// checkLiteral returns an error for a path in the notation of a shell, such as "~/data", unless a
// file or directory with this literal name exists. If it exists, the path works, and a corrected
// path would lead to other data; [Config.Warnings] reports such a path.
func checkLiteral(path string) error {
	what, advice := shellNotation(path)
	if _, err := os.Stat(path); what == "" || !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("%s %s, and there is no %s; %s", quote(path), what, absolute(path), advice)
}

// checkDirectories adds the faults of directories that a first start would create in the wrong
// place. A portal that exists goes on working with any path.
func checkDirectories(c Config, fault func(err error, keys ...string)) {
	keepsRing := c.KeyRing.Credential == "" && len(c.KeyRingCommand) == 0
	if c.Database.Reveal() == "" || keepsRing {
		fault(checkLiteral(c.DataDir), "data_dir")
	}
	_, err := os.Stat(c.inDataDir("sallyport.db"))
	if c.Database.Reveal() == "" && errors.Is(err, fs.ErrNotExist) {
		fault(checkLiteral(c.Backup.Dir), "backup.dir")
	}
}

// Warnings returns values that are valid, but probably mean something else than the operator
// expects: paths in the notation of a shell, and a site_name in quotes.
func (c Config) Warnings() Faults {
	var all Faults
	check := func(key, path string) {
		what, _ := shellNotation(path)
		if what == "" {
			return
		}
		keep := "move it to a path without $"
		if !filepath.IsAbs(path) {
			keep = "write ./" + path + " to keep it, or move it"
		}
		all = append(all, Fault{Key: key, Text: fmt.Sprintf("%s %s, so it is %s; %s", quote(path), what, absolute(path), keep)})
	}
	check("data_dir", c.DataDir)
	check("backup.dir", c.Backup.Dir)
	check("logo", c.Logo)
	check("mail.url", c.Mail.URL.Dir)
	check("mail.password_file", c.Mail.PasswordFile)
	check("mail.ca", c.Mail.CA)
	check("webhook.secret_file", c.Webhook.SecretFile)
	check("webhook.ca", c.Webhook.CA)
	for i, pair := range c.TLS.Certificates {
		check(fmt.Sprintf("tls.certificates[%d].cert", i), pair.Cert)
		check(fmt.Sprintf("tls.certificates[%d].key", i), pair.Key)
	}
	for i, p := range c.Panels {
		check(fmt.Sprintf("panels[%d].icon", i), p.Icon)
		check(fmt.Sprintf("panels[%d].upstream_ca", i), p.UpstreamCA)
	}
	if isQuoted(c.SiteName) {
		all = append(all, Fault{Key: "site_name", Text: fmt.Sprintf("%s %s, so pages show them; delete them", quote(c.SiteName), inQuotes)})
	}
	return all
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path // the working directory was removed; the relative path is all there is
}
