package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completeWord is the hidden command that the completion scripts run. Its arguments are the
// words after "sallyport" up to the cursor; the last one, which may be empty, is to be
// completed. It prints one candidate a line, followed by a tab and its description, or
// filesLine.
const completeWord = "__complete"

// filesLine tells the script to offer file names.
const filesLine = ":files"

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell"`
}

func (c completionCommand) Run(r *run) error {
	_, err := io.WriteString(r.streams.Out, completionScripts[c.Shell])
	return err
}

// completionScripts are the scripts by shell. They run the program to get candidates, so
// they need no update when commands change.
var completionScripts = map[string]string{
	"bash": `# bash completion for sallyport
_sallyport() {
	local line
	COMPREPLY=()
	while IFS= read -r line; do
		if [[ $line == ` + filesLine + ` ]]; then
			compopt -o filenames 2>/dev/null
			while IFS= read -r line; do
				COMPREPLY+=("$line")
			done < <(compgen -f -- "$2")
		else
			COMPREPLY+=("${line%%$'\t'*}")
		fi
	done < <("$1" ` + completeWord + ` "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _sallyport sallyport
`,
	"zsh": `#compdef sallyport
_sallyport() {
	local line
	local -a candidates
	for line in "${(@f)$("${(Q)words[1]}" ` + completeWord + ` "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
		if [[ $line == ` + filesLine + ` ]]; then
			_files
		elif [[ -n $line ]]; then
			candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
		fi
	done
	(( $#candidates )) && _describe sallyport candidates
}
if [[ $funcstack[1] == _sallyport ]]; then
	_sallyport "$@"
else
	compdef _sallyport sallyport
fi
`,
	"fish": `# fish completion for sallyport
function __sallyport_complete
	set -l current (commandline -ct)
	set -l words (commandline -opc) "$current"
	for line in ($words[1] ` + completeWord + ` $words[2..-1] 2>/dev/null)
		if test "$line" = ` + filesLine + `
			__fish_complete_path "$current"
		else
			printf '%s\n' $line
		end
	end
end
complete -c sallyport -f -a '(__sallyport_complete)'
`,
}

// complete prints the candidates for the last of words.
func complete(streams Streams, words []string) error {
	parser, err := newParser(&commands{}, streams)
	if err != nil {
		return err
	}
	for _, line := range candidates(parser.Model.Node, words) {
		if _, err := fmt.Fprintln(streams.Out, line); err != nil {
			return err
		}
	}
	return nil
}

// candidates returns the lines that complete prints, in the order of the help.
func candidates(node *kong.Node, words []string) []string {
	// Bash splits --flag=value into three words.
	words = slices.DeleteFunc(slices.Clone(words), func(word string) bool { return word == "=" })
	if len(words) > 1 && words[0] == "help" {
		words = words[1:] // the rest is completed like a command
	}
	if len(words) == 0 {
		return nil
	}
	current := words[len(words)-1]
	var flag *kong.Flag // the flag that the next word is the value of
	arguments := 0
	for _, word := range words[:len(words)-1] {
		switch {
		case flag != nil:
			flag = nil
		case strings.HasPrefix(word, "-"):
			flag = valueFlag(node, word)
		case len(node.Children) > 0:
			node = childOf(node, word)
		default:
			arguments++
		}
	}
	var found []string
	add := func(name, help string) {
		if strings.HasPrefix(name, current) {
			found = append(found, name+"\t"+firstSentence(help))
		}
	}
	addValues := func(v *kong.Value, isFile bool) {
		for _, value := range v.EnumSlice() {
			if v.Enum != "" {
				add(value, "")
			}
		}
		if isFile {
			found = append(found, filesLine)
		}
	}
	switch {
	case flag != nil:
		addValues(flag.Value, flag.PlaceHolder == "FILE")
	case strings.HasPrefix(current, "-"):
		own, global := flagsOf(node)
		for _, one := range append(own, global...) {
			add("--"+one.Name, one.Help)
		}
	case len(node.Children) > 0:
		for _, child := range node.Children {
			add(child.Name, child.Help)
		}
	case arguments < len(node.Positional):
		addValues(node.Positional[arguments], node.Positional[arguments].Name == "file")
	}
	return found
}

// valueFlag returns the flag that word names if its value is the next word, and nil
// otherwise.
func valueFlag(node *kong.Node, word string) *kong.Flag {
	own, global := flagsOf(node)
	for _, flag := range append(own, global...) {
		if word == "--"+flag.Name && !flag.IsBool() {
			return flag
		}
	}
	return nil
}

// childOf returns the subcommand with this name, or an empty command for an unknown name.
func childOf(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return &kong.Node{Name: name}
}

// firstSentence returns the first sentence of a help text, without its full stop.
func firstSentence(help string) string {
	first, _, more := strings.Cut(help, ". ")
	if more {
		return first
	}
	return strings.TrimSuffix(first, ".")
}
