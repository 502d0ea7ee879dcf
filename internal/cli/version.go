package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

// version is the newest release in CHANGELOG.md. Builds of later commits have the same version
// and another revision.
const version = "0.1.0"

// maxRevision is how many digits of a revision are printed: enough for git to find the commit.
const maxRevision = 12

type versionCommand struct{}

func (versionCommand) Run(r *run) error { return printVersion(r.streams.Out) }

// versionFlag is --version, which does the same as the command version.
type versionFlag bool

// BeforeReset prints the version. kong calls it before it checks that there is a command.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	if err := printVersion(app.Stdout); err != nil {
		return err
	}
	app.Exit(0)
	return nil
}

// printVersion prints one line: "sallyport 0.1.0 (7199a4b20c61) go1.26.0".
func printVersion(out io.Writer) error {
	text := "sallyport " + version
	if built := buildRevision(debug.ReadBuildInfo()); built != "" {
		text += " (" + built + ")"
	}
	// Go's version matters too: TLS, HTTP and the checks of certificates are in its standard library.
	_, err := fmt.Fprintln(out, text, runtime.Version())
	return err
}

// buildRevision returns the revision that the binary was built from, followed by ", changed" if
// the working tree differed from it. It returns "" if Go recorded no revision, as for a container
// image, which is built without the repository.
func buildRevision(info *debug.BuildInfo, ok bool) string {
	if !ok {
		return ""
	}
	settings := map[string]string{}
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	revision := settings["vcs.revision"]
	if len(revision) > maxRevision {
		revision = revision[:maxRevision]
	}
	if revision != "" && settings["vcs.modified"] == "true" {
		revision += ", changed"
	}
	return revision
}
