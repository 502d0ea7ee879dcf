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

// commands is the whole command line.
type commands struct {
	Config string `help:"Configuration file. Without it: SALLYPORT_CONFIG, then ./sallyport.yaml, then /etc/sallyport/sallyport.yaml." placeholder:"FILE"`

	Serve   serveCommand   `cmd:"" help:"Run the portal."`
	Reload  reloadCommand  `cmd:"" help:"Have the running server read panels, trusted_proxies and certificates again, if they are right."`
	Init    initCommand    `cmd:"" help:"Make the data directory, key ring and database of a configuration, and say what was made."`
	Demo    demoCommand    `cmd:"" help:"Try it: a temporary portal with an account, gone at Ctrl-C."`
	Conf    configCommands `cmd:"" name:"config" help:"Check or print the configuration."`
	Doctor  doctorCommand  `cmd:"" help:"Look at the live set-up from outside, as a stranger: what is open, and the lines that fix it. Exit code 1 where something is."`
	Account accounts       `cmd:"" help:"See and change accounts."`
	Group   groups         `cmd:"" help:"See and change groups of accounts."`
	Pass    passes         `cmd:"" help:"See, make and end machine passes, which let scripts into panels."`
	Audit   auditCommands  `cmd:"" help:"See, export and verify what was done."`
	Clock   clockCommands  `cmd:"" help:"See what the clock is held against, and believe it."`
	Key     keyCommands    `cmd:"" help:"See, check and change the keys that seal stored secrets."`
	Backup  backupCommand  `cmd:"" help:"Write a copy of the SQLite database to a new file, beside a running server."`
	Restore restoreCommand `cmd:"" help:"Make the database of a backup; ends sessions, machine passes, known browsers, used codes and backup codes."`
	Version versionCommand `cmd:"" help:"Print the version, and the version of Go that built it."`
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
	var c commands
	parser, err := kong.New(&c, kong.Name("sallyport"),
		kong.Description("A password, then a six-digit code, in front of any web panel."),
		kong.Writers(streams.Out, streams.Err), kong.Exit(func(status int) { panic(exit(status)) }),
		kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(streams.Err, "sallyport:", err)
		return exitUsage
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(streams.Err, "sallyport: %v\nRun \"sallyport --help\" for the commands.\n", err)
		return exitUsage
	}
	r := &run{Context: ctx, streams: streams, environ: environ, lookIn: places, configFile: findConfig(c.Config, environ, places)}
	if err := parsed.Run(r); err != nil {
		var faults config.Faults
		if errors.As(err, &faults) {
			fmt.Fprintln(streams.Err, r.places.Complete(faults).Error())
			r.adviseOnConfig()
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

// logger writes one JSON object a line.
func (r *run) logger(level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewJSONHandler(r.streams.Err, &slog.HandlerOptions{Level: level}))
}

// open opens the portal that the configuration names; close it afterwards. Where there
// is none, it makes none.
func (r *run) open() (*server.Portal, error) {
	cfg, err := r.load()
	if err != nil {
		return nil, err
	}
	return r.opened(server.OpenExisting(r, cfg, time.Now, r.logger(cfg.LogLevel)))
}

// openOrMake is open for the commands that make a portal where there is none.
func (r *run) openOrMake() (*server.Portal, error) {
	cfg, err := r.read()
	if err != nil {
		return nil, err
	}
	return r.opened(server.Open(r, cfg, time.Now, r.logger(cfg.LogLevel)))
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

type versionCommand struct{}

func (versionCommand) Run(r *run) error {
	version := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	// Much of what a binary does is Go's: TLS, HTTP, certificates.
	_, err := fmt.Fprintln(r.streams.Out, "sallyport", version, runtime.Version())
	return err
}
