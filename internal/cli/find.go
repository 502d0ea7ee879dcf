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

// Where a configuration is looked for that neither --config nor SALLYPORT_CONFIG names:
// in the working directory, and where the packages install it.
const (
	ownConfig    = "./sallyport.yaml"
	systemConfig = "/etc/sallyport/sallyport.yaml"
)

// findConfig returns the configuration file that is in use, or "". A file that is there
// is returned even if it can't be read: to pass over it would work on another portal.
func findConfig(flag string, environ, places []string) string {
	if flag != "" {
		return flag
	}
	if file := variable(environ, "SALLYPORT_CONFIG"); file != "" {
		return file
	}
	for _, place := range places {
		// A link that leads nowhere is there too.
		_, err := os.Lstat(place)
		// "sudo -u sallyport" keeps the working directory, such as /root, in which that
		// user can't look for a file.
		hidden := place == ownConfig && errors.Is(err, fs.ErrPermission)
		if !errors.Is(err, fs.ErrNotExist) && !hidden {
			return place
		}
	}
	return ""
}

// load reads the configuration for a command that works on a portal which is there.
// Where neither a file nor a variable nor the default data directory says that there is
// one, it is an error: the default configuration would be a guess.
func (r *run) load() (config.Config, error) {
	if r.configFile == "" && !hasSettings(r.environ) {
		dir := config.Default().DataDir
		if _, err := os.Stat(dir); err != nil {
			looked := strings.Join(append(r.lookIn, dir), ", ")
			return config.Config{}, usageError{fmt.Errorf("there is no configuration and no portal here; looked for %s\n"+
				"Name the configuration with --config FILE or SALLYPORT_CONFIG. To make a new portal, run: sallyport init, or sallyport serve", looked)}
		}
	}
	return r.read()
}

// read reads the configuration, whichever it is.
func (r *run) read() (cfg config.Config, err error) {
	cfg, r.places, err = config.Read(r.configFile, r.environ)
	r.dataDir = absolute(cfg.DataDir)
	return cfg, err
}

// hasSettings reports whether a variable sets a key of the configuration.
func hasSettings(environ []string) bool {
	for _, one := range environ {
		if strings.HasPrefix(one, "SALLYPORT_") && !strings.HasPrefix(one, "SALLYPORT_CONFIG=") && !strings.HasPrefix(one, "SALLYPORT_TEST_") {
			return true
		}
	}
	return false
}

// describeConfig says which configuration is in force, in a line.
func (r *run) describeConfig(cfg config.Config) string {
	if r.configFile != "" {
		return fmt.Sprintf("The configuration is %s", r.configFile)
	}
	return fmt.Sprintf("There is no configuration file (%s), so the defaults are in force; data is kept in %s", strings.Join(r.lookIn, ", "), absolute(cfg.DataDir))
}

// adviseOnConfig says who may read a configuration that this user may not read.
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

// adviseOnOwner says, where err is that this user may not open a file of the data
// directory, to whom it belongs and what to run.
func (r *run) adviseOnOwner(err error) { r.adviseAs(err, userName(os.Geteuid())) }

func (r *run) adviseAs(err error, me string) {
	var at *fs.PathError
	if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &at) || !isBelow(at.Path, r.dataDir) {
		return // such as the file that a backup is to be written to
	}
	path, owner, mode := ownerOf(at.Path)
	switch {
	case !isBelow(path, r.dataDir): // it isn't there, or this user can't look into what it is in
		fmt.Fprintf(r.streams.Err, "%s belongs to %s, so %s can't make or enter %s. If %s runs the server, run as root: install -d -m 0700 -o %s %s\n", path, owner, me, r.dataDir, me, me, r.dataDir)
	case owner == me: // its mode, or what it is mounted with
		fmt.Fprintf(r.streams.Err, "%s belongs to %s, who runs this command, and has mode %#o. Check the mode, and how the file system is mounted.\n", path, me, mode)
	case owner == "root":
		fmt.Fprintf(r.streams.Err, "%s belongs to root, and this command runs as %s. If %s runs the server, run as root: chown -R %s: %s\nIf not, run the command as root: sudo sallyport …\n", path, me, me, me, r.dataDir)
	default:
		fmt.Fprintf(r.streams.Err, "%s belongs to %s, and this command runs as %s. Run it as its owner: sudo -u %s sallyport …\n", path, owner, me, owner)
	}
}

// isBelow reports whether path is the folder or below it.
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

// ownerOf returns path, or the nearest folder above that this user can look at, and whose
// it is. Where root owns it and another user's own group may read it, as the packages'
// configuration, it is that user's.
func ownerOf(path string) (at, owner string, mode fs.FileMode) {
	at, info := nearest(path)
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return at, "another user", info.Mode().Perm()
	}
	owner = userName(int(stat.Uid))
	if owner == "root" && info.Mode().Perm()&0o040 != 0 && !info.IsDir() {
		if group, err := user.LookupGroupId(strconv.Itoa(int(stat.Gid))); err == nil {
			if _, err := user.Lookup(group.Name); err == nil {
				owner = group.Name
			}
		}
	}
	return at, owner, info.Mode().Perm()
}

// nearest returns path, or the nearest folder above that this user can look at.
func nearest(path string) (string, fs.FileInfo) {
	path = absolute(path)
	for {
		info, err := os.Stat(path)
		if err == nil || path == filepath.Dir(path) {
			return path, info
		}
		path = filepath.Dir(path)
	}
}

// userName returns the name of the user, or its number where it has none.
func userName(id int) string {
	if found, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return found.Username
	}
	return strconv.Itoa(id)
}
