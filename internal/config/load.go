package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile is far above any configuration and far below what would hurt to
// read: a wrong path is noticed instead of parsed.
const maxFile = 1 << 20

// environment is the [Fault.Source] of variables.
const environment = "environment"

// Load reads the file at path, unless path is empty, lays environ over it (the
// form of [os.Environ]) and fills in what follows from other keys. The error is
// a [Faults] with everything that is wrong; then the Config is zero.
func Load(path string, environ []string) (Config, error) {
	c, _, err := Read(path, environ)
	return c, err
}

// Places are where each key, and each item of a list, got its value.
type Places struct {
	path string
	at   map[string]Fault // Text is empty
}

// Read is [Load], and returns where each key got its value too.
func Read(path string, environ []string) (Config, Places, error) {
	if path == "" {
		return load(file{}, environ)
	}
	f, err := readFile(path)
	if err != nil {
		var inner *fs.PathError
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return Config{}, Places{}, Faults{{Source: path, Text: err.Error()}}
	}
	return load(f, environ)
}

// Complete returns faults that others found, which name keys only, with their places. A
// key that wasn't set is where the group was that it is missing in.
func (p Places) Complete(faults Faults) Faults {
	var all Faults
	for _, fault := range faults {
		if fault.Source == "" {
			fault = p.place(fault)
		}
		all = append(all, fault)
	}
	slices.SortStableFunc(all, inOrder)
	return all
}

func (p Places) place(fault Fault) Fault {
	for key := fault.Key; key != ""; {
		if at, ok := p.at[key]; ok {
			if at.Source == environment {
				fault.Key = at.Key
			}
			fault.Source, fault.Line = at.Source, at.Line
			return fault
		}
		end := strings.LastIndexAny(key, ".[")
		key = key[:max(end, 0)]
	}
	fault.Source = "default"
	if p.path != "" {
		fault.Source = p.path
	}
	return fault
}

// file is a configuration file that was read.
type file struct {
	path string
	text []byte
	mode fs.FileMode
}

func readFile(path string) (file, error) {
	f, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, not of what has the name by now
	if err != nil {
		return file{}, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return file{}, err
	}
	if len(text) > maxFile {
		return file{}, fmt.Errorf("is larger than %d bytes, so it can't be a configuration; name the right file", maxFile)
	}
	return file{path, text, info.Mode()}, nil
}

// loader gathers a Config and all that is wrong with it.
type loader struct {
	keys   schema
	file   file
	places map[string]Fault // where each key, and item of a list, got its value; Text is empty
	faulty map[string]bool  // keys whose value is unknown, so that no rule holds
	faults Faults
}

func load(f file, environ []string) (Config, Places, error) {
	c := Default()
	c.PublicURL = Origin{} // follows from listen, unless it is set
	l := loader{
		keys:   schemaOf(reflect.ValueOf(&c).Elem(), ""),
		file:   f,
		places: map[string]Fault{},
		faulty: map[string]bool{},
	}
	l.readYAML()
	l.readEnvironment(environ)
	for _, pair := range environ {
		if directory, ok := strings.CutPrefix(pair, "CREDENTIALS_DIRECTORY="); ok { // systemd's
			c.KeyRing.Directory = directory
		}
	}

	c, rules := resolve(c, func(key string) bool { _, ok := l.places[key]; return ok })
	for _, rule := range rules {
		if !slices.ContainsFunc(rule.keys, func(key string) bool { return l.faulty[key] }) {
			l.fault(l.blame(rule.keys), "%s", rule.text)
		}
	}
	if len(l.faults) > 0 {
		slices.SortStableFunc(l.faults, inOrder)
		return Config{}, Places{}, l.faults
	}
	return c, Places{f.path, l.places}, nil
}

// inOrder puts the file before the environment; lines and names ascend.
func inOrder(a, b Fault) int {
	if a.Source == b.Source && a.Source != environment {
		return a.Line - b.Line
	}
	if a.Source == b.Source {
		return strings.Compare(a.Key, b.Key)
	}
	if a.Source == environment {
		return 1
	}
	return -1
}

func (l *loader) fault(place Fault, format string, args ...any) {
	place.Text = fmt.Sprintf(format, args...)
	l.faults = append(l.faults, place)
}

// blame returns the place of the first key that was set at all: the defaults
// keep every rule.
func (l *loader) blame(keys []string) Fault {
	for _, key := range keys {
		if place, ok := l.places[key]; ok {
			return place
		}
	}
	return Fault{Source: "default", Key: keys[0]}
}

// assigned notes that key got its value at place, or err instead.
func (l *loader) assigned(key string, place Fault, err error) {
	l.places[key] = place
	if err != nil {
		l.faulty[key] = true
		l.fault(place, "%s", err)
	}
}

// readYAML reads the file: no document or one.
func (l *loader) readYAML() {
	documents := yaml.NewDecoder(bytes.NewReader(l.file.text))
	var first, second yaml.Node
	switch err := documents.Decode(&first); {
	case errors.Is(err, io.EOF):
		return
	case err != nil:
		l.syntax(err)
		return
	}
	root := first.Content[0]
	switch {
	case root.Kind == yaml.MappingNode:
		l.readMapping(l.keys, root, "")
	case root.ShortTag() != "!!null":
		l.fault(Fault{Source: l.file.path, Line: root.Line}, "the file must consist of lines such as key: value")
	}
	switch err := documents.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		l.syntax(err)
	default:
		l.fault(Fault{Source: l.file.path, Line: second.Line}, "a second document begins here; keep only one, without ---")
	}
}

// syntax reports an error of the YAML parser, whose text is
// "yaml: line 3: did not find expected key".
func (l *loader) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1 // the parser names no line when it is the first
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, text = n, message
			}
		}
	}
	if tab := l.file.tabNear(line); tab > 0 && (strings.Contains(text, "cannot start any token") || strings.Contains(text, "tab")) {
		l.fault(Fault{Source: l.file.path, Line: tab}, "is indented by a tab, which YAML doesn't allow; write spaces in its place, two for each level")
		return
	}
	if strings.HasPrefix(text, "unknown anchor") {
		text = noAlias // the parser's text repeats the value, which may be a secret
	}
	l.fault(Fault{Source: l.file.path, Line: line}, "isn't YAML: %s", text)
}

// tabNear returns the line that has a tab before its first other character, that of the
// parser's complaint or one beside it; 0 where none has.
func (f file) tabNear(line int) int {
	lines := strings.Split(string(f.text), "\n")
	for _, n := range []int{line, line + 1, line - 1} {
		if n < 1 || n > len(lines) {
			continue
		}
		text := strings.TrimLeft(lines[n-1], " -")
		if strings.HasPrefix(text, "\t") || strings.Contains(lines[n-1], ":\t") {
			return n
		}
	}
	return 0
}

// readMapping reads the keys below prefix, which keys knows.
func (l *loader) readMapping(keys schema, mapping *yaml.Node, prefix string) {
	seen := map[string]int{}
	for i := 0; i < len(mapping.Content); i += 2 {
		name, value := mapping.Content[i], mapping.Content[i+1]
		if !isName(name) {
			// Not repeated: it may be a value that lost its key.
			l.fault(Fault{Source: l.file.path, Line: name.Line}, "this isn't a key; write lines such as key: value")
			continue
		}
		key := prefix + name.Value
		place := Fault{Source: l.file.path, Line: name.Line, Key: key}
		if before, ok := seen[key]; ok {
			l.fault(place, "is set twice; the first is in line %d", before)
		} else {
			seen[key] = name.Line
		}
		switch {
		case keys.group[key] && value.Kind == yaml.MappingNode:
			l.readMapping(keys, value, key+".")
		case keys.group[key]:
			l.fault(place, "needs keys below it: %s", strings.Join(keys.below(key+"."), ", "))
		case keys.has(key) && !strings.Contains(name.Value, "."):
			l.assignNode(keys.field[key], place, value)
			l.checkMode(keys.field[key], place)
		default:
			l.fault(place, "unknown key%s", keys.hint(prefix, name.Value))
		}
	}
}

// assignNode sets the field of place's key to the value of a YAML node. Lists
// replace lists.
func (l *loader) assignNode(field reflect.Value, place Fault, n *yaml.Node) {
	key := place.Key
	switch {
	case strings.HasSuffix(key, "listen") && n.ShortTag() == "!!int":
		l.assigned(key, place, errors.New("is only a port; write an address and a port, such as 127.0.0.1:9091"))
	case field.Kind() != reflect.Slice:
		l.assigned(key, place, assignScalar(field, n))
	case n.Kind != yaml.SequenceNode && isGroups(field.Type()):
		l.assigned(key, place, fmt.Errorf("is %s; write a list of groups of keys, each after a dash, or [] for none", describe(n)))
	case n.Kind != yaml.SequenceNode:
		l.assigned(key, place, fmt.Errorf("is %s; write a list: [a, b], or [] for none", describe(n)))
	default:
		l.places[key] = place
		assignList(field, len(n.Content), func(element reflect.Value, i int) {
			at, item := place, fmt.Sprintf("%s[%d]", key, i)
			at.Line = n.Content[i].Line
			if isGroups(field.Type()) {
				at.Key = item
				l.assigned(item, at, l.assignGroup(element, at, n.Content[i]))
				return
			}
			l.places[item] = at
			l.assigned(key, at, assignScalar(element, n.Content[i]))
		})
	}
}

// assignGroup sets a struct to the group of keys at place.
func (l *loader) assignGroup(group reflect.Value, place Fault, n *yaml.Node) error {
	keys := schemaOf(group, place.Key+".")
	switch n.Kind {
	case yaml.AliasNode:
		return errors.New(noAlias)
	case yaml.MappingNode:
		l.readMapping(keys, n, keys.base)
		return nil
	}
	return fmt.Errorf("needs keys below it: %s", strings.Join(keys.below(keys.base), ", "))
}

// checkMode refuses a file with a password that others may read.
func (l *loader) checkMode(field reflect.Value, place Fault) {
	s, ok := field.Addr().Interface().(*Secret)
	if ok && l.file.mode&0o077 != 0 && holdsPassword(s.Reveal()) {
		l.fault(place, "contains a password, and others on this machine may read the file; run: chmod 600 %s", l.file.path)
	}
}

// readEnvironment lays the variables over the file. Of two with one name the
// last counts, as in [os/exec.Cmd].
func (l *loader) readEnvironment(environ []string) {
	keys := map[string]string{}
	var none []string // the variables that can't be
	for key, field := range l.keys.field {
		if isGroups(field.Type()) {
			none = append(none, variable(key))
		} else {
			keys[variable(key)] = key
		}
	}
	values := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		// The path of the file itself, and what tests tell each other.
		if name != "SALLYPORT_CONFIG" && !strings.HasPrefix(name, "SALLYPORT_TEST_") && strings.HasPrefix(name, "SALLYPORT_") {
			values[name] = value
		}
	}
	for name, value := range values {
		place := Fault{Source: environment, Key: name}
		if key, ok := keys[name]; ok {
			l.assignVariable(key, place, value)
		} else if slices.ContainsFunc(none, func(v string) bool { return name == v || strings.HasPrefix(name, v+"_") }) {
			l.fault(place, "can't be set by a variable, since it is a list of groups of keys; write it in the file")
		} else if !isServiceLink(name, value) {
			l.fault(place, "unknown variable%s", didYouMean(name, keys))
		}
	}
}

// variable returns the name of key's environment variable.
func variable(key string) string {
	return "SALLYPORT_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// assignVariable sets key to the text of its environment variable.
func (l *loader) assignVariable(key string, place Fault, text string) {
	field := l.keys.field[key]
	if field.Kind() != reflect.Slice {
		l.assigned(key, place, assign(field, text))
		return
	}
	var elements []string
	if strings.TrimSpace(text) != "" {
		elements = strings.Split(text, ",")
	}
	assignList(field, len(elements), func(element reflect.Value, i int) {
		l.assigned(key, place, assign(element, strings.TrimSpace(elements[i])))
	})
}
