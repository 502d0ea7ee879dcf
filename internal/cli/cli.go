// Package cli is the command line: one file for each subcommand. What it
// changes it changes in the database, beside a running server, which sees it
// with its next statement.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
)

// Exit codes.
const (
	exitFailed = 1 // it was tried and didn't work
	exitUsage  = 2 // the command or the configuration is faulty; nothing was tried
)

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// commands is the whole command line. Help, manual pages and completion are made of it:
// every command has a help and an example, those of the first level a group too.
type commands struct {
	Config      string      `help:"Configuration file. Without it: SALLYPORT_CONFIG, then ./sallyport.yaml, then /etc/sallyport/sallyport.yaml." placeholder:"FILE"`
	ShowVersion versionFlag `name:"version" short:"v" help:"Print the version."`

	Serve       serveCommand       `cmd:"" group:"Running" help:"Run the portal." example:"sallyport serve --config sallyport.yaml"`
	Init        initCommand        `cmd:"" group:"Running" help:"Make the data directory, key ring and database of a configuration, and print what was made." example:"sudo -u sallyport sallyport init"`
	Reload      reloadCommand      `cmd:"" group:"Running" help:"Check the configuration, and have the running server read panels, trusted_proxies and certificates again." example:"sallyport reload"`
	Healthcheck healthcheckCommand `cmd:"" group:"Running" help:"Ask the running server at its own address whether people can sign in. Exit code 1 if they can't." example:"sallyport healthcheck"`
	Demo        demoCommand        `cmd:"" group:"Running" help:"Try it: a temporary portal with an account and a sample panel, gone at Ctrl-C." example:"sallyport demo --listen 127.0.0.1:8080"`

	Conf   configCommands `cmd:"" name:"config" group:"Configuration" help:"Check or print the configuration."`
	Doctor doctorCommand  `cmd:"" group:"Configuration" help:"Test the live set-up as a stranger would, and print what is open, with the lines that close it. Exit code 1 if anything is open, broken or unclear." example:"sallyport doctor --upstream http://127.0.0.1:8082"`

	Account accounts `cmd:"" group:"Accounts" help:"See and change accounts."`
	Group   groups   `cmd:"" group:"Accounts" help:"See and change groups of accounts."`
	Pass    passes   `cmd:"" group:"Accounts" help:"See, make and revoke machine passes, which let scripts into panels."`

	Audit auditCommands `cmd:"" group:"Audit log and clock" help:"See, export and verify the audit log."`
	Clock clockCommands `cmd:"" group:"Audit log and clock" help:"See how the clock compares with the latest time that was seen, and accept the clock."`

	Key     keyCommands    `cmd:"" group:"Keys and backups" help:"See, check and change the keys that seal stored secrets."`
	Backup  backupCommand  `cmd:"" group:"Keys and backups" help:"Write a copy of the SQLite database to a new file. The server may run meanwhile." example:"sallyport backup /mnt/backups/monday.db"`
	Restore restoreCommand `cmd:"" group:"Keys and backups" help:"Restore the database from a backup. Ends sessions, machine passes, known browsers, links and backup codes." example:"sallyport restore /mnt/backups/monday.db"`

	Completion completionCommand `cmd:"" group:"More" help:"Print the completion script for a shell." example:"source <(sallyport completion bash)"`
	Man        manCommand        `cmd:"" group:"More" help:"Print a manual page." example:"sallyport man | man -l -"`
	Help       helpCommand       `cmd:"" group:"More" help:"Show the help of a command." example:"sallyport help account add"`
	Version    versionCommand    `cmd:"" group:"More" help:"Print the version, and the version of Go that built it." example:"sallyport version"`
}

// usageError is a fault of the command line that only the configuration shows.
type usageError struct{ error }

// run is what a command works with.
type run struct {
	context.Context // ends at Ctrl-C
	streams         Streams
	environ         []string
	lookIn          []string      // where configurations are looked for
	configFile      string        // the one in use; empty: there is none
	places          config.Places // of the configuration that was read last
	dataDir         string        // of that configuration
}

// exit unwinds kong, which ends the process by a function.
type exit int

// Main runs the command and returns its exit code.
func Main(args []string, streams Streams, environ []string) (code int) {
	// Ctrl-C and a service manager's stop end what runs, in order.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends it at once
	return mainContext(ctx, args, streams, environ, ownConfig, systemConfig)
}

// mainContext looks for a configuration that nothing names in places, in their order.
func mainContext(ctx context.Context, args []string, streams Streams, environ []string, places ...string) (code int) {
	defer func() {
		if status, ok := recover().(exit); ok {
			code = int(status)
		}
	}()
	if len(args) > 0 && args[0] == completeWord {
		if err := complete(streams, args[1:]); err != nil {
			return exitFailed
		}
		return 0
	}
	var c commands
	parser, err := newParser(&c, streams)
	if err != nil {
		fmt.Fprintln(streams.Err, "sallyport:", err)
		return exitUsage
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		explainUsage(streams.Err, parser, err)
		return exitUsage
	}
	r := &run{Context: ctx, streams: streams, environ: environ, lookIn: places, configFile: findConfig(c.Config, environ, places)}
	if err := parsed.Run(r); err != nil {
		var faults config.Faults
		if errors.As(err, &faults) {
			fmt.Fprintln(streams.Err, r.places.Complete(faults).Error())
			r.adviseOnConfig()
			r.adviseOnOwner(err)
			return exitUsage
		}
		fmt.Fprintln(streams.Err, "sallyport:", err)
		r.adviseOnOwner(err)
		if errors.As(err, new(usageError)) {
			return exitUsage
		}
		return exitFailed
	}
	return 0
}

func newParser(c *commands, streams Streams) (*kong.Kong, error) {
	parser, err := kong.New(c, kong.Name("sallyport"),
		kong.Description("A password, then a six-digit code, in front of any web panel."),
		kong.Writers(streams.Out, streams.Err), kong.Exit(func(status int) { panic(exit(status)) }), kong.Help(help))
	if err == nil {
		parser.Model.HelpFlag.Help = "Show the help of a command."
	}
	return parser, err
}

// explainUsage says what is wrong with a command line, and how its command is used.
func explainUsage(out io.Writer, parser *kong.Kong, err error) {
	node := parser.Model.Node
	if at := (*kong.ParseError)(nil); errors.As(err, &at) {
		if selected := at.Context.Selected(); selected != nil {
			node = selected
		}
		// A command is missing: these are there.
		if len(node.Children) > 0 && strings.HasPrefix(err.Error(), "expected one of") {
			fmt.Fprintf(out, "sallyport: give a command\n\n%s", helpText(node, widthOf(out)))
			return
		}
	}
	fmt.Fprintf(out, "sallyport: %v\nUsage: %s\nRun \"%s --help\" for more.\n", err, usage(node), path(node))
}

// variable returns the value of a variable. Of two with one name the last counts, as in
// [config.Load].
func variable(environ []string, name string) (value string) {
	for _, one := range environ {
		if found, ok := strings.CutPrefix(one, name+"="); ok {
			value = found
		}
	}
	return value
}

// warn tells of what is likely to be wrong with a configuration that is in order.
func (r *run) warn(cfg config.Config) {
	for _, fault := range r.places.Complete(server.Warnings(cfg)) {
		fmt.Fprintln(r.streams.Err, "Warning:", fault)
	}
}

// logger writes a line for a person or a JSON object, as format says.
func (r *run) logger(level slog.Leveler, format config.LogFormat) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == config.LogText || format == config.LogAuto && isTerminal(r.streams.Err) {
		return slog.New(slog.NewTextHandler(r.streams.Err, options))
	}
	return slog.New(slog.NewJSONHandler(r.streams.Err, options))
}

// open opens the portal that the configuration names; close it afterwards. Where there
// is none, it makes none.
func (r *run) open() (*server.Portal, error) {
	cfg, err := r.load()
	if err != nil {
		return nil, err
	}
	return r.opened(server.OpenExisting(r, cfg, time.Now, r.logger(cfg.LogLevel, cfg.LogFormat)))
}

// openOrMake is open for the commands that make a portal where there is none.
func (r *run) openOrMake() (*server.Portal, error) {
	cfg, err := r.read()
	if err != nil {
		return nil, err
	}
	return r.opened(server.Open(r, cfg, time.Now, r.logger(cfg.LogLevel, cfg.LogFormat)))
}

func (r *run) opened(portal *server.Portal, err error) (*server.Portal, error) {
	if err != nil {
		return nil, err
	}
	// What a command writes down goes by the reference clock too, wherever it runs.
	if err := portal.CompareClocks(r); err != nil {
		portal.Close()
		return nil, err
	}
	return portal, nil
}

// version is what packages and images are called, set by the linker; empty: what Go knows.
var version string

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "(unknown)"
}

type versionCommand struct{}

func (versionCommand) Run(r *run) error { return printVersion(r.streams.Out) }

// versionFlag is the command, where people look for it first.
type versionFlag bool

// BeforeReset runs before the command line is found to lack a command.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	if err := printVersion(app.Stdout); err != nil {
		return err
	}
	app.Exit(0)
	return nil
}

func printVersion(out io.Writer) error {
	// Much of what a binary does is Go's: TLS, HTTP, certificates.
	_, err := fmt.Fprintln(out, "sallyport", versionText(), runtime.Version())
	return err
}
