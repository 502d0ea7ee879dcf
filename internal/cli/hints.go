package cli

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/sallyport/sallyport/internal/config"
)

// synonyms maps the names that commands have in other programs, by which operators look for ours,
// to our names. If several are listed, the first that exists is meant.
var synonyms = map[string][]string{
	"create": {"add"}, "new": {"add"}, "delete": {"remove", "revoke"}, "rm": {"remove", "revoke"}, "ls": {"list"},
	"password": {"set-password"}, "passwd": {"set-password"}, "email": {"set-email"},
	"start": {"serve"}, "run": {"serve"}, "user": {"account"}, "users": {"account"}, "accounts": {"account"}, "groups": {"group"},
	"validate": {"config check"},
}

// guess begins what the parser appends to its error: commands or flags with similar names.
const guess = ", did you mean "

// usageHint returns what an operator probably meant by a faulty command line, as one line, or "".
// node is the command, and message the parser's error.
func usageHint(node *kong.Node, message string) string {
	message, _, _ = strings.Cut(message, guess)
	if argument, ok := strings.CutPrefix(message, "unexpected argument "); ok {
		for _, meant := range synonyms[argument] {
			for _, child := range node.Children {
				if strings.HasPrefix(meant+" ", child.Name+" ") {
					return fmt.Sprintf("Did you mean \"%s %s\"?", commandPath(node), meant)
				}
			}
		}
		if strings.HasSuffix(argument, ".yaml") || strings.HasSuffix(argument, ".yml") {
			return "To name the configuration, write: --config " + argument
		}
	}
	if flag, ok := strings.CutPrefix(message, "unknown flag --"); ok {
		key := strings.ReplaceAll(flag, "-", "_")
		if strings.Contains("\n"+config.DefaultYAML(), "\n"+key+":") {
			return fmt.Sprintf("%s is a setting: write it in the configuration, or set SALLYPORT_%s.", key, strings.ToUpper(key))
		}
	}
	return ""
}
