package cli

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// newTestParser returns the parser of the command line.
func newTestParser(t *testing.T) *kong.Kong {
	t.Helper()
	parser, err := newParser(&commands{}, Streams{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}})
	must(t, err)
	return parser
}

func TestEveryCommandHasAHelpAGroupAndAnExampleThatParses(t *testing.T) {
	parser := newTestParser(t)
	for _, node := range parser.Model.Leaves(false) {
		if group := node.ClosestGroup(); group == nil || group.Title == "" {
			t.Errorf("%s has no group", commandPath(node))
		}
		if !strings.HasSuffix(node.Help, ".") {
			t.Errorf("%s: the help %q is no sentence", commandPath(node), node.Help)
		}
		example := node.Tag.Get("example")
		start := strings.Index(example, commandPath(node))
		if start < 0 {
			t.Errorf("%s: the example %q is for another command", commandPath(node), example)
			continue
		}
		// Cut off redirections and pipes.
		command, _, _ := strings.Cut(strings.TrimSuffix(example[start:], ")"), " < ")
		command, _, _ = strings.Cut(command, " > ")
		command, _, _ = strings.Cut(command, " | ")
		if _, err := newTestParser(t).Parse(strings.Fields(command)[1:]); err != nil {
			t.Errorf("%s: the example %q: %v", commandPath(node), example, err)
		}
		for _, width := range []int{40, 80, 200} {
			text := helpText(node, width)
			if !strings.Contains(text, "Usage: "+usageLine(node)+"\n") || !strings.Contains(text, "\nExample:\n  "+example+"\n") {
				t.Errorf("%s --help lacks the usage or the example:\n%s", commandPath(node), text)
			}
		}
		for _, value := range node.Values() {
			if value.HasDefault && value.Default != "" && !strings.Contains(helpText(node, 200), "Default: "+value.Default+".") {
				t.Errorf("%s --help doesn't show the default of %s", commandPath(node), value.Name)
			}
		}
	}
}

func TestHelpIsGroupedAndFitsTheWidth(t *testing.T) {
	root := newTestParser(t).Model.Node
	for _, width := range []int{40, 80, 100} {
		text := helpText(root, width)
		for _, title := range []string{"Running", "Configuration", "Accounts", "Mail and webhook", "Audit log and clock", "Keys and backups", "More"} {
			if !strings.Contains(text, "\n"+title+":\n") {
				t.Errorf("no group %s at %d:\n%s", title, width, text)
			}
		}
		for line := range strings.Lines(text) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > width && len(strings.Fields(line)) > 1 && width >= 80 {
				t.Errorf("%d columns of %d: %q", n, width, line)
			}
		}
	}
}

func TestHelpIsFoundInEveryWay(t *testing.T) {
	_, want, _ := call(nil, "", "account", "add", "--help")
	for _, args := range [][]string{{"help", "account", "add"}, {"account", "add", "-h"}, {"account", "--help", "add"}} {
		code, out, errs := call(nil, "", args...)
		if code != 0 || errs != "" || out != want && args[0] != "account" {
			t.Errorf("%v: exit code %d, want 0, got\n%s%s", args, code, out, errs)
		}
	}
	_, whole, _ := call(nil, "", "--help")
	if code, out, _ := call(nil, "", "help"); code != 0 || out != whole {
		t.Errorf("help: exit code %d, want 0, got\n%s", code, out)
	}
	if code, _, errs := call(nil, "", "help", "account", "frobnicate"); code != exitUsage || !strings.Contains(errs, "sallyport account --help") {
		t.Errorf("help of an unknown command: exit code %d, want 2 and \"sallyport account --help\", got\n%s", code, errs)
	}
	_, version, _ := call(nil, "", "version")
	for _, flag := range []string{"--version", "-v"} {
		if code, out, errs := call(nil, "", flag); code != 0 || out != version || errs != "" {
			t.Errorf("%s: exit code %d, want 0, got %q, %q", flag, code, out, errs)
		}
	}
}

func TestUsageErrorsNameTheCommand(t *testing.T) {
	for _, test := range []struct {
		args string
		want []string
	}{
		{"account add", []string{`expected "<name>"`, "Usage: sallyport account add <name> [flags]\n", `Run "sallyport account add --help"`}},
		{"account add ada --mail x", []string{"unknown flag --mail", "Usage: sallyport account add", `"sallyport account add --help"`}},
		{"pass add ada nightly", []string{"--panel=URL", "Usage: sallyport pass add <name> <pass> --panel=URL [flags]\n"}},
		{"account", []string{"give a command", "Usage: sallyport account <command>\n", "reset-two-factor"}},
		{"", []string{"give a command", "Usage: sallyport <command> [flags]\n"}},
		{"account create ada", []string{"unexpected argument create\nDid you mean \"sallyport account add\"?\nUsage: "}},
		{"start", []string{"Did you mean \"sallyport serve\"?"}},
		{"user add ada", []string{"Did you mean \"sallyport account\"?"}},
		{"validate", []string{"Did you mean \"sallyport config check\"?"}},
		{"serve sallyport.yaml", []string{"write: --config sallyport.yaml\n"}},
		{"serve --listen 127.0.0.1:1", []string{"listen is a setting: write it in the configuration, or set SALLYPORT_LISTEN.\n"}},
		{"frobnicate", []string{"frobnicate", `Run "sallyport --help"`}},
		{"completion tcsh", []string{"bash", "Usage: sallyport completion <shell>\n"}},
	} {
		code, out, errs := call(nil, "", strings.Fields(test.args)...)
		if code != exitUsage || out != "" {
			t.Errorf("%q: exit code %d, want 2, got %q", test.args, code, out)
		}
		for _, want := range test.want {
			if !strings.Contains(errs, want) {
				t.Errorf("%q doesn't say %q:\n%s", test.args, want, errs)
			}
		}
	}
}

func TestEverySynonymLeadsToItsCommand(t *testing.T) {
	untested := maps.Clone(synonyms)
	for synonym, wants := range map[string][]string{
		"create":   {"account add", "group add", "pass add", "key add"},
		"new":      {"account add", "group add", "pass add"}, // "key new" exists
		"delete":   {"account remove", "group remove", "pass revoke"},
		"rm":       {"account remove", "group remove", "pass revoke"},
		"ls":       {"account list", "group list", "pass list", "key list", "audit list"},
		"password": {"account set-password"}, "passwd": {"account set-password"}, "email": {"account set-email"},
		"start": {"serve"}, "run": {"serve"}, "validate": {"config check"},
		"user": {"account"}, "users": {"account"}, "accounts": {"account"}, "groups": {"group"},
	} {
		for _, want := range wants {
			args := []string{synonym}
			if group, _, ok := strings.Cut(want, " "); ok && synonym != "validate" {
				args = []string{group, synonym}
			}
			code, _, errs := call(nil, "", args...)
			if begin := fmt.Sprintf("sallyport: unexpected argument %s\nDid you mean \"sallyport %s\"?\nUsage: ", synonym, want); code != exitUsage || !strings.HasPrefix(errs, begin) {
				t.Errorf("%v: exit code %d, want %s\ngot\n%s", args, code, begin, errs)
			}
		}
		delete(untested, synonym)
	}
	if len(untested) > 0 {
		t.Errorf("these synonyms aren't tested: %v", untested)
	}
}

func TestManualPagesHaveEveryCommandAndLint(t *testing.T) {
	for _, page := range []string{commandPage, configPage} {
		code, out, errs := call(nil, "", "man", page)
		if code != 0 {
			t.Fatalf("man %s: exit code %d, want 0, got\n%s", page, code, errs)
		}
		lint := exec.Command("mandoc", "-Tlint", "-Wwarning")
		lint.Stdin = strings.NewReader(out)
		warnings, _ := lint.CombinedOutput()
		for line := range strings.Lines(string(warnings)) {
			if !strings.Contains(line, "missing date") { // test binaries have no build date
				t.Errorf("mandoc -Tlint of %s: %s", page, line)
			}
		}
		plain := plainText(t, out)
		if page == configPage {
			if !strings.Contains(plain, "public_url: ") {
				t.Errorf("%s lacks public_url:\n%s", page, plain)
			}
			continue
		}
		for _, leaf := range leaves(t) {
			if !strings.Contains(plain, leaf.name) {
				t.Errorf("the manual lacks %s", leaf.name)
			}
		}
		for _, want := range []string{"sallyport account add bob --password-stdin < password.txt", "--link-life=", "/etc/sallyport/sallyport.yaml"} {
			if !strings.Contains(plain, want) {
				t.Errorf("the manual doesn't say %q:\n%s", want, plain)
			}
		}
	}
}

// plainText returns a manual page as mandoc shows it, without the backspaces that make text
// bold or underlined.
func plainText(t *testing.T, page string) string {
	t.Helper()
	show := exec.Command("mandoc", "-Tascii", "-Owidth=200")
	show.Stdin = strings.NewReader(page)
	shown, err := show.Output()
	must(t, err)
	var plain []byte
	for _, c := range shown {
		if c == '\b' {
			plain = plain[:len(plain)-1]
			continue
		}
		plain = append(plain, c)
	}
	return string(plain)
}

// TestMain runs the program instead of the tests if the test binary is called by the program's
// name, as the completion scripts do. So the program needn't be built for them.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "sallyport" {
		os.Exit(Main(os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Environ()))
	}
	os.Exit(m.Run())
}

// programFolder returns a new folder with the program.
func programFolder(t *testing.T) (dir string) {
	t.Helper()
	own, err := os.Executable()
	must(t, err)
	dir = t.TempDir()
	must(t, os.Symlink(own, filepath.Join(dir, "sallyport")))
	return dir
}

// inShell runs a shell in a folder with the files "ring.age" and "my ring.txt", and returns
// its output.
func inShell(t *testing.T, dir, shell string, args ...string) string {
	t.Helper()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "ring.age"), "")
	write(t, filepath.Join(folder, "my ring.txt"), "")
	cmd := exec.Command(shell, args...)
	cmd.Dir = folder
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TERM=dumb", "LANG=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", shell, err, out)
	}
	return string(out)
}

// completions lists command lines up to the cursor, each with the words that completion must
// offer there and a word that it must not offer.
var completions = []struct {
	line string
	want []string
	not  string
}{
	{"sallyport acc", []string{"account"}, "audit"},
	{"sallyport account ", []string{"add", "invite", "setup-link", "reset-two-factor"}, "serve"},
	{"sallyport account add --pass", []string{"--password-stdin"}, "--email"},
	{"sallyport completion ", []string{"bash", "zsh", "fish"}, "account"},
	{"sallyport help account re", []string{"remove", "reset-two-factor"}, "add"},
	{"sallyport --config ring.age key ro", []string{"rotate"}, "list"},
	{"sallyport restore --identity ring", []string{"ring.age"}, "my"},
	{"sallyport restore my", []string{"my"}, "ring.age"},
}

func TestCompletionWorksInBash(t *testing.T) {
	dir := programFolder(t)
	for _, test := range completions {
		// Call the function as readline does.
		script := `source <(sallyport completion bash)
line=$1
read -ra COMP_WORDS <<< "$line"
[[ $line == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_sallyport sallyport "${COMP_WORDS[COMP_CWORD]}"
printf '%s\n' "${COMPREPLY[@]}"
complete -p sallyport >/dev/null`
		checkCompletion(t, "bash", test.line, inShell(t, dir, "bash", "-c", script, "bash", test.line), test.want, test.not)
	}
}

func TestCompletionWorksInFish(t *testing.T) {
	dir := programFolder(t)
	for _, test := range completions {
		checkCompletion(t, "fish", test.line, inShell(t, dir, "fish", "--no-config", "-c", "sallyport completion fish | source; complete -C $argv[1]", test.line), test.want, test.not)
	}
}

func TestCompletionWorksInZsh(t *testing.T) {
	// zsh completes only at a terminal, so zpty creates one. ^D lists the candidates. One
	// terminal gets all lines, since compinit takes a second.
	script := `zmodload zsh/zpty
zpty terminal zsh -f -i
zpty -w terminal 'fpath=('"$1"' $fpath); autoload -Uz compinit; compinit -D -u; LISTMAX=1000; bindkey "^D" list-choices; PS1="GO""ON>"'
shift
for typed; do
	zpty -r -m terminal line '*GOON>*'
	zpty -n -w terminal "$typed"$'\x04\x15'"print -r -- DO"'""'"NE:"$'\n'
	zpty -r -m terminal line '*DONE:*'
	print -rN -- "$line"
done`
	functions := t.TempDir()
	_, text, _ := call(nil, "", "completion", "zsh")
	write(t, filepath.Join(functions, "_sallyport"), text)
	args := []string{"-f", "-c", script, "zsh", functions}
	for _, test := range completions {
		args = append(args, test.line)
	}
	answers := strings.Split(strings.TrimSuffix(inShell(t, programFolder(t), "zsh", args...), "\x00"), "\x00")
	if len(answers) != len(completions) {
		t.Fatalf("zsh answered %d of %d lines", len(answers), len(completions))
	}
	for i, test := range completions {
		checkCompletion(t, "zsh", test.line, answers[i], test.want, test.not)
	}
}

func checkCompletion(t *testing.T, shell, line, out string, want []string, not string) {
	t.Helper()
	// The terminal may echo the line.
	offered := strings.ReplaceAll(out, line, "")
	for _, one := range want {
		if !strings.Contains(offered, one) {
			t.Errorf("%s doesn't offer %q after %q:\n%s", shell, one, line, out)
		}
	}
	if strings.Contains(offered, not) {
		t.Errorf("%s offers %q after %q:\n%s", shell, not, line, out)
	}
}
