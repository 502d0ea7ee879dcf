package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"
)

const (
	// defaultWidth is the width of text if the width of the terminal is unknown. maxWidth
	// is the greatest width that is comfortable to read.
	defaultWidth, maxWidth = 80, 100

	// minText is the least width of a column of text. On a narrower terminal, text gets a
	// fixed indent.
	minText = 20

	// maxName is the greatest width of a name that has its text beside it. The text of a wider
	// name begins on the next line.
	maxName = 28
)

// printHelp prints the help of the selected command or group, or of the whole program.
func printHelp(_ kong.HelpOptions, ctx *kong.Context) error {
	node := ctx.Selected()
	if node == nil {
		node = ctx.Model.Node
	}
	_, err := io.WriteString(ctx.Stdout, helpText(node, widthOf(ctx.Stdout)))
	return err
}

// widthOf returns how many columns of text to print to w.
func widthOf(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return min(int(size.Col), maxWidth)
		}
	}
	return defaultWidth
}

// helpText returns the help of a node, wrapped to width columns. Words that are longer than a line
// and the example stay whole.
func helpText(node *kong.Node, width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n\n", usageLine(node))
	b.WriteString(wrap(node.Help, 0, width))
	for _, group := range commandGroups(node) {
		fmt.Fprintf(&b, "\n%s:\n", group.title)
		var rows [][2]string
		for _, child := range group.commands {
			rows = append(rows, [2]string{child.Name, summary(child)})
		}
		writeRows(&b, rows, width)
	}
	if len(node.Positional) > 0 {
		b.WriteString("\nArguments:\n")
		var rows [][2]string
		for _, arg := range node.Positional {
			rows = append(rows, [2]string{arg.Summary(), valueHelp(arg)})
		}
		writeRows(&b, rows, width)
	}
	own, global := flagsOf(node)
	for _, flags := range []struct {
		title string
		flags []*kong.Flag
	}{{"Flags", own}, {"Flags of every command", global}} {
		if len(flags.flags) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s:\n", flags.title)
		var rows [][2]string
		for _, flag := range flags.flags {
			rows = append(rows, [2]string{flagName(flag), valueHelp(flag.Value)})
		}
		writeRows(&b, rows, width)
	}
	if example := node.Tag.Get("example"); example != "" {
		fmt.Fprintf(&b, "\nExample:\n  %s\n", example)
	}
	if len(node.Children) > 0 {
		fmt.Fprintf(&b, "\nRun \"%s <command> --help\" for more about a command.\n", commandPath(node))
	}
	return b.String()
}

// commandPath returns the words of a command, such as "sallyport account add".
func commandPath(node *kong.Node) string {
	if node.Parent == nil {
		return node.Name
	}
	return commandPath(node.Parent) + " " + node.Name
}

// usageLine returns the usage of a command, such as
// "sallyport account add <name> [flags]".
func usageLine(node *kong.Node) string {
	words := []string{commandPath(node)}
	if len(node.Children) > 0 {
		words = append(words, "<command>")
	}
	for _, arg := range node.Positional {
		words = append(words, arg.Summary())
	}
	own, _ := flagsOf(node)
	optional := node.Parent == nil
	for _, flag := range own {
		if flag.Required {
			words = append(words, "--"+flag.Name+"="+flag.FormatPlaceHolder())
		} else {
			optional = true
		}
	}
	if optional {
		words = append(words, "[flags]")
	}
	return strings.Join(words, " ")
}

// group is a titled group in a list of commands.
type group struct {
	title    string
	commands []*kong.Node
}

// commandGroups returns the commands below a node, in the order of their declaration.
func commandGroups(node *kong.Node) []group {
	var all []group
	for _, child := range node.Children {
		if child.Hidden {
			continue
		}
		title := "Commands"
		if child.Group != nil {
			title = child.Group.Title
		}
		i := slices.IndexFunc(all, func(g group) bool { return g.title == title })
		if i < 0 {
			all, i = append(all, group{title: title}), len(all)
		}
		all[i].commands = append(all[i].commands, child)
	}
	return all
}

// summary returns a command's help for a list. For a command with subcommands it adds their
// names.
func summary(node *kong.Node) string {
	if len(node.Children) == 0 {
		return node.Help
	}
	var names []string
	for _, child := range node.Children {
		names = append(names, child.Name)
	}
	return strings.TrimSuffix(node.Help, ".") + ": " + strings.Join(names, ", ") + "."
}

// flagsOf returns a node's own flags with those of its parents, and the flags that every
// command has.
func flagsOf(node *kong.Node) (own, global []*kong.Flag) {
	for n := node; n != nil; n = n.Parent {
		for _, flag := range n.Flags {
			switch {
			case flag.Hidden:
			case n.Parent == nil:
				global = append(global, flag)
			default:
				own = append(own, flag)
			}
		}
	}
	return own, global
}

func flagName(flag *kong.Flag) string {
	name := "--" + flag.Name
	if flag.Short != 0 {
		name = fmt.Sprintf("-%c, %s", flag.Short, name)
	}
	if !flag.IsBool() {
		name += "=" + flag.FormatPlaceHolder()
	}
	return name
}

// valueHelp returns the help of a flag or argument, with its possible values and its default.
func valueHelp(v *kong.Value) string {
	text := v.Help
	if v.Enum != "" {
		text = strings.TrimSuffix(text, ".") + ": " + strings.Join(v.EnumSlice(), ", ") + "."
	}
	if v.HasDefault && v.Default != "" {
		text += " Default: " + v.Default + "."
	}
	return text
}

// writeRows writes names with their text in a second column.
func writeRows(b *strings.Builder, rows [][2]string, width int) {
	widest := 0
	for _, row := range rows {
		if n := utf8.RuneCountInString(row[0]); n <= maxName {
			widest = max(widest, n)
		}
	}
	indent := widest + 4
	if width-indent < minText {
		indent = 6
	}
	for _, row := range rows {
		text := wrap(row[1], indent, width)
		if n := utf8.RuneCountInString(row[0]); 2+n+2 <= indent {
			text = strings.Repeat(" ", indent-2-n) + strings.TrimLeft(text, " ")
		} else {
			text = "\n" + text
		}
		fmt.Fprintf(b, "  %s%s", row[0], text)
	}
}

// wrap breaks text into lines of at most width columns, each with an indent. The last line
// ends with a newline too.
func wrap(text string, indent, width int) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
			b.WriteString(strings.Repeat(" ", indent))
			column = indent
		case column+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	b.WriteByte('\n')
	return b.String()
}

// helpCommand is "help COMMAND", which prints the same as "COMMAND --help".
type helpCommand struct {
	Command []string `arg:"" optional:"" help:"The command, such as account add."`
}

func (c helpCommand) Run(r *run) error {
	parser, err := newParser(&commands{}, r.streams)
	if err != nil {
		return err
	}
	node := parser.Model.Node
	for _, word := range c.Command {
		i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
		if i < 0 {
			return usageError{fmt.Errorf("%q has no command %q; see: %s --help", commandPath(node), word, commandPath(node))}
		}
		node = node.Children[i]
	}
	_, err = io.WriteString(r.streams.Out, helpText(node, widthOf(r.streams.Out)))
	return err
}
