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
	// defaultWidth is the width of text where nothing says how wide the terminal is, and
	// maxWidth the most that is good to read.
	defaultWidth, maxWidth = 80, 100

	// minText is the least width of a column of text; a narrower terminal wraps it.
	minText = 20

	// maxName is the widest name that has its text beside it; the text of a wider one is
	// below.
	maxName = 28
)

// help prints what is selected: the whole program, a group of commands, or a command.
func help(_ kong.HelpOptions, ctx *kong.Context) error {
	node := ctx.Selected()
	if node == nil {
		node = ctx.Model.Node
	}
	_, err := io.WriteString(ctx.Stdout, helpText(node, widthOf(ctx.Stdout)))
	return err
}

// widthOf returns how many columns text has on w.
func widthOf(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return min(int(size.Col), maxWidth)
		}
	}
	return defaultWidth
}

// helpText is the help of a node, of lines of so many columns where words allow it.
func helpText(node *kong.Node, width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n\n", usage(node))
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
			rows = append(rows, [2]string{arg.Summary(), describe(arg)})
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
			rows = append(rows, [2]string{flagName(flag), describe(flag.Value)})
		}
		writeRows(&b, rows, width)
	}
	if example := node.Tag.Get("example"); example != "" {
		fmt.Fprintf(&b, "\nExample:\n  %s\n", example)
	}
	if len(node.Children) > 0 {
		fmt.Fprintf(&b, "\nRun \"%s <command> --help\" for more about a command.\n", path(node))
	}
	return b.String()
}

// path returns the words that lead to a node: "sallyport account add".
func path(node *kong.Node) string {
	if node.Parent == nil {
		return node.Name
	}
	return path(node.Parent) + " " + node.Name
}

// usage returns the line of a node's use.
func usage(node *kong.Node) string {
	words := []string{path(node)}
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

// group is what stands together in a list of commands.
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

// summary is a command's help in a list; of a group of commands it names them.
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

// flagsOf returns a node's own flags, and those of every command.
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

// describe is the help of a value, with its default where it has one.
func describe(v *kong.Value) string {
	text := v.Help
	if v.Enum != "" {
		text = strings.TrimSuffix(text, ".") + ": " + strings.Join(v.EnumSlice(), ", ") + "."
	}
	if v.HasDefault && v.Default != "" {
		text += " Default: " + v.Default + "."
	}
	return text
}

// writeRows writes names and, beside them, their text.
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

// wrap breaks text into lines with an indent, each with its end.
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

// helpCommand is "help COMMAND", the same as "COMMAND --help".
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
			return usageError{fmt.Errorf("%q has no command %q; see: %s --help", path(node), word, path(node))}
		}
		node = node.Children[i]
	}
	_, err = io.WriteString(r.streams.Out, helpText(node, widthOf(r.streams.Out)))
	return err
}
