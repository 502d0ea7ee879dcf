package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/server"
)

// Exit codes.
const (
	exitFailed = 1 // the command failed
	exitUsage  = 2 // the command line, the configuration or this version is wrong; a restart won't help
)

// Streams are the standard streams of a command.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// commands is the whole command line. Help, manual pages and completion are generated from
// its tags: every command has a help and an example, and every top-level command a group.
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

	Mail    mailCommands    `cmd:"" group:"Mail and webhook" help:"Test how mails are sent, and see what waits to be sent."`
	Webhook webhookCommands `cmd:"" group:"Mail and webhook" help:"Test the webhook."`

	Audit auditCommands `cmd:"" group:"Audit log and clock" help:"See, export and verify the audit log."`
	Clock clockCommands `cmd:"" group:"Audit log and clock" help:"See how the clock compares with the latest time that was seen, and accept the clock."`

	Key     keyCommands    `cmd:"" group:"Keys and backups" help:"See, check and change the keys that seal stored secrets."`
	Backup  backupCommand  `cmd:"" group:"Keys and backups" help:"Write a copy of the SQLite database to a new file. The server may run meanwhile." example:"sallyport backup /mnt/backups/monday.db"`
	Restore restoreCommand `cmd:"" group:"Keys and backups" help:"Restore the database from a backup. Ends sessions, machine passes, known browsers, links and backup codes." example:"sallyport restore /mnt/backups/monday.db"`

	Completion completionCommand `cmd:"" group:"More" help:"Print the completion script for a shell." example:"source <(sallyport completion bash)"`
	Man        manCommand        `cmd:"" group:"More" help:"Print a manual page." example:"sallyport man | man -l -"`
	Help       helpCommand       `cmd:"" group:"More" help:"Show the help of a command." example:"sallyport help account add"`
	Version    versionCommand    `cmd:"" group:"More" help:"Print the version, the revision and the version of Go." example:"sallyport version"`
}

// usageError is a fault of the command line that the parser can't find, such as a flag
// that the configuration doesn't allow. It leads to exitUsage.
type usageError struct{ error }

// run is the environment of one command.
type run struct {
	context.Context // ends at Ctrl-C
	streams         Streams
	environ         []string
	configPaths     []string      // default paths of the configuration, in their order
	configFile      string        // the file in use, or ""
	places          config.Places // of the configuration that was read last
	dataDir         string        // of that configuration
}

// exitStatus is the value of a panic that unwinds kong, which expects its exit function
// not to return.
type exitStatus int

// Main runs the command and returns its exit code.
func Main(args []string, streams Streams, environ []string) (code int) {
	// Ctrl-C and SIGTERM, which service managers send, end the command in an orderly way.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return mainContext(ctx, args, streams, environ, ownConfig, systemConfig)
}

// mainContext is [Main] with a context, and with the default paths of the configuration in
// their order.
func mainContext(ctx context.Context, args []string, streams Streams, environ []string, configPaths ...string) (code int) {
	defer func() {
		if status, ok := recover().(exitStatus); ok {
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
	r := &run{Context: ctx, streams: streams, environ: environ, configPaths: configPaths, configFile: findConfig(c.Config, environ, configPaths)}
	// Don't run the command through the parser: the parser's model of all commands would then stay
	// in the memory of a server for as long as the server runs.
	command := parsed.Selected().Target.Interface().(interface{ Run(*run) error })
	if err := command.Run(r); err != nil {
		var faults config.Faults
		if errors.As(err, &faults) {
			fmt.Fprintln(streams.Err, r.places.Complete(faults).Error())
			r.adviseOnConfig()
			r.adviseOnOwner(err)
			return exitUsage
		}
		fmt.Fprintln(streams.Err, "sallyport:", err)
		r.adviseOnOwner(err)
		if errors.As(err, new(usageError)) || errors.Is(err, db.ErrTooOld) {
			return exitUsage
		}
		return exitFailed
	}
	return 0
}

func newParser(c *commands, streams Streams) (*kong.Kong, error) {
	parser, err := kong.New(c, kong.Name("sallyport"),
		kong.Description("A password, then a six-digit code, in front of any web panel."),
		kong.Writers(streams.Out, streams.Err), kong.Exit(func(status int) { panic(exitStatus(status)) }), kong.Help(printHelp))
	if err == nil {
		parser.Model.HelpFlag.Help = "Show the help of a command."
	}
	return parser, err
}

// explainUsage prints what is wrong with a command line, and the usage of its command.
func explainUsage(out io.Writer, parser *kong.Kong, err error) {
	node := parser.Model.Node
	if parseError := (*kong.ParseError)(nil); errors.As(err, &parseError) {
		if selected := parseError.Context.Selected(); selected != nil {
			node = selected
		}
		// The command is missing: list the possible ones.
		if len(node.Children) > 0 && strings.HasPrefix(err.Error(), "expected one of") {
			fmt.Fprintf(out, "sallyport: give a command\n\n%s", helpText(node, widthOf(out)))
			return
		}
	}
	message := err.Error()
	hint := usageHint(node, message)
	if hint != "" {
		message, _, _ = strings.Cut(message, guess)
		hint += "\n"
	}
	fmt.Fprintf(out, "sallyport: %s\n%sUsage: %s\nRun \"%s --help\" for more.\n", message, hint, usageLine(node), commandPath(node))
}

// environValue returns the value of an environment variable, or "". If environ has the
// variable more than once, the last one counts, as in [config.Load].
func environValue(environ []string, name string) (value string) {
	for _, one := range environ {
		if found, ok := strings.CutPrefix(one, name+"="); ok {
			value = found
		}
	}
	return value
}

// printWarnings prints what is probably a mistake in a configuration without faults.
func (r *run) printWarnings(cfg config.Config) {
	for _, fault := range r.places.Complete(server.Warnings(cfg)) {
		fmt.Fprintln(r.streams.Err, "Warning:", fault)
	}
}

// logger returns a logger to standard error. Its lines are text if format is [config.LogText], or
// if format is [config.LogAuto] and standard error is a terminal. Otherwise they are JSON objects.
func (r *run) logger(level slog.Leveler, format config.LogFormat) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == config.LogText || format == config.LogAuto && isTerminal(r.streams.Err) {
		return slog.New(slog.NewTextHandler(r.streams.Err, options))
	}
	return slog.New(slog.NewJSONHandler(r.streams.Err, options))
}

// openPortal opens the portal that the configuration names. It doesn't create one. The
// caller must close it.
func (r *run) openPortal() (*server.Portal, error) {
	cfg, err := r.existingConfig()
	if err != nil {
		return nil, err
	}
	return r.withReferenceClock(server.OpenExisting(r, cfg, time.Now, r.logger(cfg.LogLevel, cfg.LogFormat)))
}

// openOrCreatePortal is like openPortal, but creates a missing portal.
func (r *run) openOrCreatePortal() (*server.Portal, error) {
	cfg, err := r.readConfig()
	if err != nil {
		return nil, err
	}
	return r.withReferenceClock(server.Open(r, cfg, time.Now, r.logger(cfg.LogLevel, cfg.LogFormat)))
}

// withReferenceClock makes a portal that was opened without error use the reference clock,
// so that a command writes right times on a machine with a wrong clock.
func (r *run) withReferenceClock(portal *server.Portal, err error) (*server.Portal, error) {
	if err != nil {
		return nil, err
	}
	if err := portal.CompareClocks(r); err != nil {
		portal.Close()
		return nil, err
	}
	return portal, nil
}
