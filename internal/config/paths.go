package config

import (
	"path/filepath"
	"strings"
)

// DatabaseURL returns "sqlite:" and the absolute path of sallyport.db in the
// data directory, or the PostgreSQL URL. It may hold a password.
func (c Config) DatabaseURL() string {
	if url := c.Database.Reveal(); url != "" {
		return url
	}
	return "sqlite:" + c.inDataDir("sallyport.db")
}

// PortalURL returns the URL of the portal's home page, without a slash at the end.
func (c Config) PortalURL() string {
	if c.SharedHost {
		return c.PublicURL.String() + strings.TrimSuffix(gatePath, "/")
	}
	return c.PublicURL.String()
}

// KeyRingPath returns the path of the key ring's file or credential. It returns "" for a
// credential if systemd has passed no directory of credentials.
func (c Config) KeyRingPath() string {
	switch {
	case c.KeyRing.Credential == "":
		return c.inDataDir("keyring")
	case c.KeyRing.Directory == "":
		return ""
	default:
		return filepath.Join(c.KeyRing.Directory, c.KeyRing.Credential)
	}
}

// BackupDir returns the directory of scheduled backups.
func (c Config) BackupDir() string {
	if c.Backup.Dir != "" {
		return c.Backup.Dir
	}
	return c.inDataDir("backups")
}

func (c Config) inDataDir(name string) string {
	return absolute(filepath.Join(c.DataDir, name))
}
