package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"
)

// maxFile is the greatest size of a configuration file, in bytes. It is far more than any
// configuration has, so that a wrong path gives an error instead of being parsed.
const maxFile = 1 << 20

// environment is the [Fault.Source] of environment variables.
const environment = "environment"

// Load returns the configuration of the file at path, overridden by environ, which has the
// form of [os.Environ]. If path is empty, it reads no file. Keys that aren't set have their
// defaults. The error is [Faults] with every fault; the Config is zero then.
func Load(path string, environ []string) (Config, error) {
	c, _, err := Read(path, environ)
	return c, err
}

// Places are the sources of a configuration's values: which line or variable set each key
// and each item of a list.
type Places struct {
	path  string
	byKey map[string]Fault // Text is empty
}

// Read is [Load] and also returns the sources of the values.
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
		if errors.Is(err, syscall.EISDIR) {
			err = errors.New("is a directory; name the file, such as " + filepath.Join(path, "sallyport.yaml"))
		}
		return Config{}, Places{}, Faults{{Source: path, Text: err.Error()}}
	}
	return load(f, environ)
}

// Complete returns faults with the source and line of their keys, sorted. For a key that
// isn't set it uses the place of the group of keys around it, or of the file.
func (p Places) Complete(faults Faults) Faults {
	var all Faults
	for _, fault := range faults {
		if fault.Source == "" {
			fault = p.place(fault)
		}
		all = append(all, fault)
	}
	slices.SortStableFunc(all, compareFaults)
	return all
}

func (p Places) place(fault Fault) Fault {
	for key := fault.Key; key != ""; {
		if place, ok := p.byKey[key]; ok {
			if place.Source == environment {
				fault.Key = place.Key
			}
			fault.Source, fault.Line = place.Source, place.Line
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
	info, err := f.Stat() // of the open file, since the path may name another file by now
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

// loader fills a Config and collects its faults.
type loader struct {
	keys   schema
	file   file
	places map[string]Fault // source of each key and item of a list; Text is empty
	faulty map[string]bool  // keys without a usable value; rules about them aren't checked
	quoted map[string]bool  // variables whose values are in quotes
	faults Faults
}

func load(f file, environ []string) (Config, Places, error) {
	c := Default()
	c.PublicURL = Origin{} // resolve derives it from listen unless it is set
	l := loader{
		keys:   schemaOf(reflect.ValueOf(&c).Elem(), ""),
		file:   f,
		places: map[string]Fault{},
		faulty: map[string]bool{},
		quoted: map[string]bool{},
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
			l.fault(l.placeOf(rule.keys), "%s", rule.text)
		}
	}
	if len(l.faults) > 0 {
		slices.SortStableFunc(l.faults, compareFaults)
		return Config{}, Places{}, l.faults
	}
	return c, Places{f.path, l.places}, nil
}

// compareFaults sorts faults of the file by line, and after them faults of the environment
// by name.
func compareFaults(a, b Fault) int {
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
	if l.quoted[place.Key] && !strings.Contains(place.Text, inQuotes) {
		place.Text += "; the value " + inQuotes + ": delete them"
	}
	l.faults = append(l.faults, place)
}

// placeOf returns the place of the first of keys that was set. At least one of them was set,
// since the defaults break no rule.
func (l *loader) placeOf(keys []string) Fault {
	for _, key := range keys {
		if place, ok := l.places[key]; ok {
			return place
		}
	}
	return Fault{Source: "default", Key: keys[0]}
}

// recordAssignment records that place set key or, if err isn't nil, that its value has a fault.
func (l *loader) recordAssignment(key string, place Fault, err error) {
	l.places[key] = place
	if err != nil {
		l.faulty[key] = true
		l.fault(place, "%s", err)
	}
}

// readYAML reads the file, which must hold at most one document.
func (l *loader) readYAML() {
	documents := yaml.NewDecoder(bytes.NewReader(l.file.text))
	var first, second yaml.Node
	switch err := documents.Decode(&first); {
	case errors.Is(err, io.EOF):
		return
	case err != nil:
		l.syntaxFault(err)
		return
	}
	root := first.Content[0]
	switch {
	case root.Kind == yaml.MappingNode:
		l.readMapping(l.keys, root, "")
	case root.ShortTag() != "!!null":
		l.fault(Fault{Source: l.file.path, Line: root.Line}, "the file must consist of lines such as key: value, with a space after the colon")
	}
	switch err := documents.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		l.syntaxFault(err)
	default:
		l.fault(Fault{Source: l.file.path, Line: second.Line}, "a second document begins here; keep only one, without ---")
	}
}

// readMapping assigns the keys of a mapping. Their full names begin with prefix and must be in
// the schema keys.
func (l *loader) readMapping(keys schema, mapping *yaml.Node, prefix string) {
	seen := map[string]int{}
	for i := 0; i < len(mapping.Content); i += 2 {
		name, value := mapping.Content[i], mapping.Content[i+1]
		if !isName(name) {
			// The fault doesn't repeat the name, which may be a secret without its key.
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

// assignNode sets a field to the value of a YAML node. A list replaces an earlier one.
func (l *loader) assignNode(field reflect.Value, place Fault, n *yaml.Node) {
	key := place.Key
	switch {
	case strings.HasSuffix(key, "listen") && n.ShortTag() == "!!int":
		l.recordAssignment(key, place, errors.New("is only a port; write an address and a port, such as 127.0.0.1:9091"))
	case field.Kind() != reflect.Slice:
		l.recordAssignment(key, place, assignScalar(field, n))
	case n.Kind != yaml.SequenceNode && isGroups(field.Type()):
		l.recordAssignment(key, place, fmt.Errorf("is %s; write a list of groups of keys, each after a dash, or [] for none", describe(n)))
	case n.Kind != yaml.SequenceNode:
		l.recordAssignment(key, place, fmt.Errorf("is %s; write a list: [a, b], or [] for none", describe(n)))
	default:
		l.places[key] = place
		assignList(field, len(n.Content), func(element reflect.Value, i int) {
			itemPlace, item := place, fmt.Sprintf("%s[%d]", key, i)
			itemPlace.Line = n.Content[i].Line
			if isGroups(field.Type()) {
				itemPlace.Key = item
				l.recordAssignment(item, itemPlace, l.assignGroup(element, itemPlace, n.Content[i]))
				return
			}
			l.places[item] = itemPlace
			l.recordAssignment(key, itemPlace, assignScalar(element, n.Content[i]))
		})
	}
}

// assignGroup sets the fields of a struct to the keys of a mapping.
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

// checkMode adds a fault if others may read the file and the field holds a password.
func (l *loader) checkMode(field reflect.Value, place Fault) {
	s, ok := field.Addr().Interface().(*Secret)
	if ok && l.file.mode&0o077 != 0 && holdsPassword(s.Reveal()) {
		l.fault(place, "contains a password, and others on this machine may read the file; run: chmod 600 %s", l.file.path)
	}
}

// readEnvironment overrides keys of the file by environment variables. If environ has a
// variable more than once, the last one counts, as in [os/exec.Cmd].
func (l *loader) readEnvironment(environ []string) {
	keys := map[string]string{}
	var inFileOnly []string // the variables' names for the keys that only the file can set
	for key, field := range l.keys.field {
		if isGroups(field.Type()) {
			inFileOnly = append(inFileOnly, variableName(key))
		} else {
			keys[variableName(key)] = key
		}
	}
	values := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		// SALLYPORT_CONFIG is the path of the file, and SALLYPORT_TEST_… are for tests.
		if name != "SALLYPORT_CONFIG" && !strings.HasPrefix(name, "SALLYPORT_TEST_") && strings.HasPrefix(name, "SALLYPORT_") {
			values[name] = value
		}
	}
	for name, value := range values {
		place := Fault{Source: environment, Key: name}
		if key, ok := keys[name]; ok {
			l.assignVariable(key, place, value)
		} else if slices.ContainsFunc(inFileOnly, func(v string) bool { return name == v || strings.HasPrefix(name, v+"_") }) {
			l.fault(place, "can't be set by a variable, since it is a list of groups of keys; write it in the file")
		} else if !isServiceLink(name, value) {
			l.fault(place, "unknown variable%s", didYouMean(name, keys))
		}
	}
}

// variableName returns the name of a key's environment variable.
func variableName(key string) string {
	return "SALLYPORT_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// assignVariable sets key to the value of its environment variable.
func (l *loader) assignVariable(key string, place Fault, text string) {
	field := l.keys.field[key]
	l.quoted[place.Key] = isQuoted(text)
	if field.Kind() != reflect.Slice {
		l.recordAssignment(key, place, assign(field, text))
		return
	}
	var elements []string
	if strings.TrimSpace(text) != "" {
		elements = strings.Split(text, ",")
	}
	assignList(field, len(elements), func(element reflect.Value, i int) {
		one := strings.TrimSpace(elements[i])
		err := assign(element, one)
		if err != nil && strings.Contains(one, " ") {
			err = fmt.Errorf("%w; separate several by commas", err)
		}
		l.recordAssignment(key, place, err)
	})
}
