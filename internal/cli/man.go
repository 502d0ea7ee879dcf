package cli

import (
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/sallyport/sallyport/internal/config"
)

// Manual pages.
const (
	commandPage = "sallyport"      // section 1
	configPage  = "sallyport.yaml" // section 5
)

type manCommand struct {
	Page string `arg:"" optional:"" default:"sallyport" enum:"sallyport,sallyport.yaml" help:"The page"`
}

// Run prints a manual page for man(1).
func (c manCommand) Run(r *run) error {
	if c.Page == configPage {
		return configManual(r.streams.Out)
	}
	parser, err := newParser(&commands{}, r.streams)
	if err != nil {
		return err
	}
	return commandManual(r.streams.Out, parser.Model.Node)
}

// commandManual writes sallyport(1).
func commandManual(out io.Writer, app *kong.Node) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH SALLYPORT 1 %s %s\n.SH NAME\nsallyport \\- %s\n", quoted(buildDate()), quoted("sallyport "+version), roff(strings.TrimSuffix(app.Help, ".")))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B sallyport\n.I command\n.RI [ flags ]\n")
	b.WriteString(".SH DESCRIPTION\n" + roff(`Sallyport is a login gate in front of web panels: a password, then a six-digit code from an authenticator app. Commands that work on accounts, keys and the audit log run beside a running server, which sees with its next statement what they change.`) + "\n.PP\n" +
		roff(`Only serve, demo, init and restore create a portal. Every other command works on the one that the configuration names.`) + "\n")
	_, global := flagsOf(app)
	b.WriteString(".SH OPTIONS\n")
	manualFlags(&b, global)
	for _, group := range commandGroups(app) {
		fmt.Fprintf(&b, ".SH COMMANDS: %s\n", roff(strings.ToUpper(group.title)))
		for _, command := range group.commands {
			manualCommand(&b, command)
		}
	}
	b.WriteString(`.SH EXIT STATUS
.TP
.B 0
The command succeeded.
.TP
.B 1
The command failed.
.TP
.B 2
The command line or the configuration is faulty, and nothing was done.
.SH ENVIRONMENT
.TP
.B SALLYPORT_CONFIG
The configuration file, unless
.B \-\-config
names one.
.TP
.B SALLYPORT_*
Keys of the configuration:
.B session.idle
is
.BR SALLYPORT_SESSION_IDLE .
.SH FILES
.TP
.I ./sallyport.yaml
The configuration, where neither
.B \-\-config
nor
.B SALLYPORT_CONFIG
names one.
.TP
.I /etc/sallyport/sallyport.yaml
The configuration, where there is no
.I ./sallyport.yaml
either.
.SH SEE ALSO
.BR sallyport.yaml (5)
`)
	_, err := io.WriteString(out, b.String())
	return err
}

// manualCommand writes a command, or its subcommands.
func manualCommand(b *strings.Builder, node *kong.Node) {
	for _, child := range node.Children {
		manualCommand(b, child)
	}
	if len(node.Children) > 0 {
		return
	}
	fmt.Fprintf(b, ".SS %s\n%s\n", roff(strings.TrimPrefix(usageLine(node), "sallyport ")), roff(node.Help))
	for _, arg := range node.Positional {
		fmt.Fprintf(b, ".TP\n.I %s\n%s\n", roff(arg.Name), roff(valueHelp(arg)))
	}
	own, _ := flagsOf(node)
	manualFlags(b, own)
	fmt.Fprintf(b, ".PP\nExample:\n.PP\n.nf\n%s\n.fi\n", roff(node.Tag.Get("example")))
}

func manualFlags(b *strings.Builder, flags []*kong.Flag) {
	for _, flag := range flags {
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(flagName(flag)), roff(valueHelp(flag.Value)))
	}
}

// configManual writes sallyport.yaml(5): the default configuration, which explains every
// key.
func configManual(out io.Writer) error {
	_, err := fmt.Fprintf(out, ".TH SALLYPORT.YAML 5 %s %s\n.SH NAME\nsallyport.yaml \\- configuration of sallyport(1)\n"+
		".SH DESCRIPTION\nThis is the default configuration, every key explained.\n.B sallyport config default\nprints it.\n.PP\n.nf\n%s.fi\n.SH SEE ALSO\n.BR sallyport (1)\n",
		quoted(buildDate()), quoted("sallyport "+version), roff(config.DefaultYAML()))
	return err
}

// buildDate returns the day of the commit that the binary was built from, or "".
func buildDate() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.time" {
				day, _, _ := strings.Cut(setting.Value, "T")
				return day
			}
		}
	}
	return ""
}

func quoted(text string) string { return `"` + strings.ReplaceAll(roff(text), `"`, `\(dq`) + `"` }

// roff escapes text, so that man(1) shows it unchanged.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") { // it would be a roff request
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
