package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/sallyport/sallyport/internal/config"
)

// Default paths of the configuration, for when neither --config nor SALLYPORT_CONFIG names
// one: in the working directory, and where packages install it.
const (
	ownConfig    = "./sallyport.yaml"
	systemConfig = "/etc/sallyport/sallyport.yaml"
)

// findConfig returns the path of the configuration file in use, or "". It returns a file
// that exists even if it can't be read: if it went on to the next path, the command would
// work on another portal.
func findConfig(flag string, environ, defaults []string) string {
	if flag != "" {
		return flag
	}
	if file := environValue(environ, "SALLYPORT_CONFIG"); file != "" {
		return file
	}
	for _, path := range defaults {
		// Lstat, because a broken symbolic link counts as a file too.
		_, err := os.Lstat(path)
		// "sudo -u sallyport" keeps the working directory, for example /root, which that user has
		// no permission to search.
		hidden := path == ownConfig && errors.Is(err, fs.ErrPermission)
		if !errors.Is(err, fs.ErrNotExist) && !hidden {
			return path
		}
	}
	return ""
}

// existingConfig reads the configuration for a command that needs an existing portal. If
// there is no configuration file, no variable and no default data directory, it returns an
// error instead of the defaults: no portal can be there.
func (r *run) existingConfig() (config.Config, error) {
	if r.configFile == "" && !hasSettings(r.environ) {
		dir := config.Default().DataDir
		if _, err := os.Stat(dir); err != nil {
			looked := strings.Join(append(r.configPaths, dir), ", ")
			return config.Config{}, usageError{fmt.Errorf("there is no configuration and no portal here; looked for %s\n"+
				"Name the configuration with --config FILE or SALLYPORT_CONFIG. To make a new portal, run: sallyport init, or sallyport serve", looked)}
		}
	}
	return r.readConfig()
}

// readConfig reads the configuration file in use. Without a file it returns the defaults.
func (r *run) readConfig() (cfg config.Config, err error) {
	cfg, r.places, err = config.Read(r.configFile, r.environ)
	r.dataDir = absolute(cfg.DataDir)
	return cfg, err
}

// hasSettings reports whether an environment variable sets a key of the configuration.
func hasSettings(environ []string) bool {
	for _, one := range environ {
		if strings.HasPrefix(one, "SALLYPORT_") && !strings.HasPrefix(one, "SALLYPORT_CONFIG=") && !strings.HasPrefix(one, "SALLYPORT_TEST_") {
			return true
		}
	}
	return false
}

// describeConfig returns a sentence that says which configuration is in force.
func (r *run) describeConfig(cfg config.Config) string {
	if r.configFile != "" {
		return fmt.Sprintf("The configuration is %s", r.configFile)
	}
	return fmt.Sprintf("There is no configuration file (%s), so the defaults are in force; data is kept in %s", strings.Join(r.configPaths, ", "), absolute(cfg.DataDir))
}

// adviseOnConfig prints the owner of the configuration file if this user has no permission to
// read it.
func (r *run) adviseOnConfig() {
	f, err := os.Open(r.configFile)
	if err == nil {
		f.Close()
	}
	if !errors.Is(err, fs.ErrPermission) {
		return
	}
	path, owner, _ := ownerOf(r.configFile)
	fmt.Fprintf(r.streams.Err, "%s belongs to %s, and this command runs as %s. Run it as a user who may read it: sudo -u %s sallyport …\n", path, owner, userName(os.Geteuid()), owner)
}

// adviseOnOwner prints the owner of a file of the data directory, and what to run, if err says
// that this user has no permission to open that file.
func (r *run) adviseOnOwner(err error) { r.adviseOnOwnerAs(err, userName(os.Geteuid())) }

func (r *run) adviseOnOwnerAs(err error, me string) {
	var denied *fs.PathError
	if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &denied) || !isBelow(denied.Path, r.dataDir) {
		return // another file, for example the one that a backup is to be written to
	}
	path, owner, mode := ownerOf(denied.Path)
	switch {
	case !isBelow(path, r.dataDir): // data_dir doesn't exist, or this user has no permission to search its parent
		fmt.Fprintf(r.streams.Err, "%s belongs to %s, so %s can't make or enter %s. If %s runs the server, run as root: install -d -m 0700 -o %s %s\n", path, owner, me, r.dataDir, me, me, r.dataDir)
	case owner == me: // the mode or a mount option denies access
		fmt.Fprintf(r.streams.Err, "%s belongs to %s, who runs this command, and has mode %#o. Check the mode, and how the file system is mounted.\n", path, me, mode)
	case owner == "root":
		fmt.Fprintf(r.streams.Err, "%s belongs to root, and this command runs as %s. If %s runs the server, run as root: chown -R %s: %s\nIf not, run the command as root: sudo sallyport …\n", path, me, me, me, r.dataDir)
	default:
		fmt.Fprintf(r.streams.Err, "%s belongs to %s, and this command runs as %s. Run it as its owner: sudo -u %s sallyport …\n", path, owner, me, owner)
	}
}

// isBelow reports whether path is folder, or below it.
func isBelow(path, folder string) bool {
	path, folder = absolute(path), absolute(folder)
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// ownerOf returns the owner and mode of path. If this user can't see path, found is the
// nearest folder above it that this user can see. If root owns a file, and a group with the name
// of another user may read it, as in the case of the configuration that packages install, owner is
// that user.
func ownerOf(path string) (found, owner string, mode fs.FileMode) {
	found, info := nearestVisible(path)
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return found, "another user", info.Mode().Perm()
	}
	owner = userName(int(stat.Uid))
	if owner == "root" && info.Mode().Perm()&0o040 != 0 && !info.IsDir() {
		if group, err := user.LookupGroupId(strconv.Itoa(int(stat.Gid))); err == nil {
			if _, err := user.Lookup(group.Name); err == nil {
				owner = group.Name
			}
		}
	}
	return found, owner, info.Mode().Perm()
}

// nearestVisible returns path, or the nearest folder above it on which stat succeeds.
func nearestVisible(path string) (string, fs.FileInfo) {
	path = absolute(path)
	for {
		info, err := os.Stat(path)
		if err == nil || path == filepath.Dir(path) {
			return path, info
		}
		path = filepath.Dir(path)
	}
}

// userName returns the name of a user, or the number if there is no name for it.
func userName(id int) string {
	if found, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return found.Username
	}
	return strconv.Itoa(id)
}
