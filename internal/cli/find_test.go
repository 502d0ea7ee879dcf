package cli

import (
	"bytes"
	"context"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/sallyport/sallyport/internal/testkit"
)

// callWithPaths is call with default paths of the configuration.
func callWithPaths(configPaths []string, environ []string, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = mainContext(context.Background(), args, Streams{In: strings.NewReader(""), Out: &o, Err: &e}, environ, configPaths...)
	return code, o.String(), e.String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// needNoPortal are the commands that work without a portal, createPortal those that create
// one.
var (
	needNoPortal = []string{"version", "config default", "key new", "completion", "man", "help"}
	createPortal = []string{"serve", "demo", "init"}
)

// In an empty folder every other command says what is missing and creates no file.
func TestCommandsCreateNothingInAnEmptyFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	places := []string{ownConfig, filepath.Join(t.TempDir(), "sallyport.yaml")}
	called := 0
	for _, leaf := range leaves(t) {
		if slices.Contains(createPortal, leaf.name) {
			continue
		}
		called++
		code, out, errs := callWithPaths(places, nil, leaf.args...)
		left, err := os.ReadDir(".")
		must(t, err)
		if len(left) > 0 {
			t.Fatalf("%s leaves %v, want no files", leaf.name, left)
		}
		if slices.Contains(needNoPortal, leaf.name) {
			if code != 0 {
				t.Errorf("%s: exit code %d, want 0, got\n%s", leaf.name, code, errs)
			}
			continue
		}
		if code == 0 || out != "" {
			t.Errorf("%s: %d, prints %q; want a failure and no output", leaf.name, code, out)
		}
		for _, want := range []string{"there is no configuration and no portal here", places[0], places[1], "./sallyport-data", "--config FILE", "SALLYPORT_CONFIG", "sallyport init"} {
			if !strings.Contains(errs, want) {
				t.Errorf("%s doesn't say %q:\n%s", leaf.name, want, errs)
			}
		}
	}
	if called < 30 {
		t.Errorf("only %d commands were called", called)
	}
}

// If there is a configuration but no portal, commands other than init don't create one.
func TestCommandsCreateNoPortalForAConfiguration(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := environFor(t, engine)
			dir := strings.TrimPrefix(environ[1], "SALLYPORT_DATA_DIR=")
			for _, args := range [][]string{{"account", "list"}, {"account", "invite", "ada"}, {"group", "add", "ops"}, {"clock", "show"}, {"audit", "verify"}} {
				code, _, errs := call(environ, "", args...)
				if code != exitFailed || !strings.Contains(errs, "there is no portal in ") || !strings.Contains(errs, "sallyport init") {
					t.Errorf("%v: exit code %d, want 1, got\n%s", args, code, errs)
				}
				if _, err := os.Stat(dir); err == nil {
					t.Fatalf("%v made %s", args, dir)
				}
			}
			code, out, errs := call(environ, "", "init")
			if code != 0 || !strings.Contains(out, "Made the data directory "+dir+"\n") || !strings.Contains(out, "Made the key ring "+dir+"/keyring\n") || !strings.Contains(out, "copy of the key ring") {
				t.Fatalf("init: exit code %d, want 0 and \"copy of the key ring\", got\n%s%s", code, out, errs)
			}
			if want := map[string]string{"sqlite": "Made the database " + dir + "/sallyport.db\n", "postgres": "Made the schema in the PostgreSQL database\n"}[engine]; !strings.Contains(out, want) {
				t.Errorf("init doesn't say %q:\n%s", want, out)
			}
			if code, out, errs := call(environ, "", "account", "list"); code != 0 {
				t.Errorf("account list: exit code %d, want 0, got\n%s%s", code, out, errs)
			}
			ring, err := os.ReadFile(filepath.Join(dir, "keyring"))
			must(t, err)
			code, out, errs = call(environ, "", "init")
			if code != 0 || strings.Contains(out, "Made") || strings.Count(out, "was there already") != 3 {
				t.Errorf("second init: exit code %d, want 0, got\n%s%s", code, out, errs)
			}
			if after, err := os.ReadFile(filepath.Join(dir, "keyring")); err != nil || !bytes.Equal(ring, after) {
				t.Error("a second init changed the key ring", err)
			}
			must(t, os.Remove(filepath.Join(dir, "keyring")))
			if code, _, errs := call(environ, "", "account", "list"); code != exitFailed || !strings.Contains(errs, "there is no key ring at "+dir) {
				t.Errorf("without the key ring: exit code %d, want 1, got\n%s", code, errs)
			}
			if _, err := os.Stat(filepath.Join(dir, "keyring")); err == nil {
				t.Error("a command created a key ring")
			}
		})
	}
}

func TestConfigurationIsFoundInOneOrder(t *testing.T) {
	t.Chdir(t.TempDir())
	elsewhere := t.TempDir()
	var files []string
	for _, name := range []string{"system", "own", "variable", "flag"} {
		file := filepath.Join(elsewhere, name)
		if name == "own" {
			file = ownConfig
		}
		write(t, file, "public_url: https://"+name+".example.com\n")
		files = append(files, file)
	}
	places := []string{ownConfig, files[0]}
	wantFound := func(want string, environ []string, args ...string) {
		t.Helper()
		code, out, errs := callWithPaths(places, environ, append([]string{"config", "check"}, args...)...)
		if code != 0 || !strings.Contains(out, "https://"+want+".example.com") {
			t.Errorf("want %s: %d\n%s%s", want, code, out, errs)
		}
	}
	variable := []string{"SALLYPORT_CONFIG=" + files[2]}
	wantFound("flag", variable, "--config", files[3])
	wantFound("variable", variable)
	wantFound("own", nil)
	must(t, os.Remove(ownConfig))
	wantFound("system", nil)
	// If a file exists but can't be read, the next path isn't used instead.
	must(t, os.Symlink("nowhere", ownConfig))
	if code, _, errs := callWithPaths(places, nil, "config", "check"); code != exitUsage || !strings.Contains(errs, ownConfig+": no such file") {
		t.Errorf("a broken symbolic link: exit code %d, want 2, got\n%s", code, errs)
	}
	must(t, os.Remove(ownConfig))
	must(t, os.Mkdir(ownConfig, 0o700))
	if code, _, errs := callWithPaths(places, nil, "config", "check"); code != exitUsage || !strings.Contains(errs, ownConfig) {
		t.Errorf("a folder: exit code %d, want 2, got\n%s", code, errs)
	}
}

func TestServeSaysWhichConfigurationIsInForce(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("SALLYPORT_CONFIG", "")
	environ := []string{"SALLYPORT_LISTEN=" + testkit.FreeAddress(t)}
	serve := func() string {
		t.Helper()
		c := startWithPaths(t, []string{ownConfig}, environ, "serve")
		c.waitFor(t, "Sallyport is at")
		if code := c.end(); code != 0 {
			t.Fatalf("serve: exit code %d, want 0, got\n%s", code, c.err)
		}
		return c.out.String()
	}
	if out := serve(); !strings.Contains(out, "There is no configuration file (./sallyport.yaml), so the defaults are in force; data is kept in /") {
		t.Errorf("serve without a file prints the following; want that there is no configuration file:\n%s", out)
	}
	write(t, ownConfig, "site_name: Acme\n")
	if out := serve(); !strings.Contains(out, "The configuration is ./sallyport.yaml") {
		t.Errorf("serve with a file prints the following; want that the configuration is ./sallyport.yaml:\n%s", out)
	}
	// Other commands in the same folder need no --config.
	if code, _, errs := callWithPaths([]string{ownConfig}, nil, "account", "list"); code != 0 {
		t.Errorf("account list: exit code %d, want 0, got\n%s", code, errs)
	}
}

func TestPermissionDeniedNamesTheOwnerAndWhatToRun(t *testing.T) {
	me, err := user.Current()
	must(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "sallyport.db")
	write(t, file, "")
	for name, test := range map[string]struct {
		dataDir, path, as, want string
	}{
		"one's own":                     {dir, file, me.Username, file + " belongs to " + me.Username + ", who runs this command, and has mode 0600. Check the mode, and how the file system is mounted.\n"},
		"root's":                        {"/proc/1", "/proc/1/sallyport.db", "bob", "/proc/1 belongs to root, and this command runs as bob. If bob runs the server, run as root: chown -R bob: /proc/1\nIf not, run the command as root: sudo sallyport …\n"},
		"one that can't be made":        {"/proc/sallyport", "/proc/sallyport/keyring", "bob", "/proc belongs to root, so bob can't make or enter /proc/sallyport. If bob runs the server, run as root: install -d -m 0700 -o bob /proc/sallyport\n"},
		"outside of the data directory": {dir, "/proc/backup.db", "bob", ""},
	} {
		var e bytes.Buffer
		r := &run{streams: Streams{Err: &e}, dataDir: test.dataDir}
		r.adviseOnOwnerAs(&os.PathError{Op: "open", Path: test.path, Err: syscall.EACCES}, test.as)
		if e.String() != test.want {
			t.Errorf("%s: %q, want %q", name, e.String(), test.want)
		}
	}
}

// leaf is a command without subcommands, with arguments that it accepts.
type leaf struct {
	name string
	args []string
}

// leaves returns every command without subcommands.
func leaves(t *testing.T) []leaf {
	t.Helper()
	parser, err := kong.New(&commands{})
	must(t, err)
	var all []leaf
	for _, node := range parser.Model.Leaves(false) {
		var path []string
		for n := node; n.Type == kong.CommandNode; n = n.Parent {
			path = append([]string{n.Name}, path...)
		}
		one := leaf{name: strings.Join(path, " "), args: path}
		for _, arg := range node.Positional {
			switch {
			case arg.Enum != "":
				one.args = append(one.args, strings.Split(arg.Enum, ",")[0])
			case arg.Required && arg.IsSlice():
			case arg.Required:
				one.args = append(one.args, "name")
			}
		}
		for _, flag := range node.Flags {
			if flag.Required {
				one.args = append(one.args, "--"+flag.Name, "http://panel.test")
			}
			if flag.Name == "password-stdin" || flag.Name == "yes" {
				one.args = append(one.args, "--"+flag.Name)
			}
		}
		all = append(all, one)
	}
	return all
}
