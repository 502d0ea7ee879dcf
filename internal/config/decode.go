package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// schema maps the keys of a struct to its fields.
type schema struct {
	base  string                   // prefix of all keys: "", or such as "panels[0]."
	field map[string]reflect.Value // keys such as "session.idle", and their fields
	group map[string]bool          // groups of keys, such as "session"
}

// schemaOf returns the schema of a struct, which must be settable. Its keys begin with base.
// Each field must have a yaml tag and be a struct, a type that [assign] accepts, or a list
// of either.
func schemaOf(v reflect.Value, base string) schema {
	s := schema{base, map[string]reflect.Value{}, map[string]bool{}}
	s.add(v, base)
	return s
}

func (s schema) add(v reflect.Value, prefix string) {
	for f, field := range v.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		key := prefix + name
		if isGroup(field.Type()) {
			s.group[key] = true
			s.add(field, key+".")
		} else {
			s.field[key] = field
		}
	}
}

// isGroup reports whether a value of type t is written as a group of keys.
func isGroup(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// isGroups reports whether a value of type t is written as a list of groups of keys.
func isGroups(t reflect.Type) bool { return t.Kind() == reflect.Slice && isGroup(t.Elem()) }

func (s schema) has(key string) bool {
	_, ok := s.field[key]
	return ok
}

// hasPart reports whether name is a part of a key, such as "session" and "idle" of
// "session.idle". The keys inside a list's items count too.
func (s schema) hasPart(name string) bool {
	for key, field := range s.field {
		if slices.Contains(strings.Split(key, "."), name) {
			return true
		}
		if t := field.Type(); isGroups(t) && schemaOf(reflect.New(t.Elem()).Elem(), "").hasPart(name) {
			return true
		}
	}
	return false
}

// below returns the names of the keys and groups directly below prefix, sorted.
func (s schema) below(prefix string) []string {
	names := map[string]bool{}
	for key := range s.field {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			name, _, _ := strings.Cut(rest, ".")
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// hint returns what the unknown name below prefix may stand for, as the end of a fault's
// text, or "".
func (s schema) hint(prefix, name string) string {
	last := name[strings.LastIndexByte(name, '.')+1:]
	var groups []string
	for _, key := range slices.Sorted(maps.Keys(s.field)) {
		group, leaf, nested := strings.Cut(strings.TrimPrefix(key, s.base), ".")
		if t := s.field[key].Type(); isGroups(t) {
			leaf, nested = last, schemaOf(reflect.New(t.Elem()).Elem(), "").has(last)
		}
		if nested && leaf == last {
			groups = append(groups, group+":")
		}
	}
	if len(groups) > 0 {
		return fmt.Sprintf("; %s belongs below %s", last, strings.Join(groups, " or "))
	}
	names := map[string]string{}
	for _, below := range s.below(prefix) {
		names[below] = ""
	}
	if meant := didYouMean(name, names); meant != "" || prefix == "" {
		return meant
	}
	return "; the keys here are " + strings.Join(s.below(prefix), ", ")
}

// didYouMean returns a question that suggests the most similar key of names, or "" if no key is
// similar.
func didYouMean(name string, names map[string]string) string {
	const maxTypos = 2 // at a greater distance, it is probably another word
	best, similar := maxTypos+1, ""
	for _, candidate := range slices.Sorted(maps.Keys(names)) {
		if d := editDistance(name, candidate); d < best {
			best, similar = d, candidate
		}
	}
	if similar == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", similar)
}

// editDistance returns the Levenshtein distance: how many letters to add, remove or change.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// maxName is more than the length of any key's name.
const maxName = 40

// isName reports whether a node may be meant as a key. Such a name is short and consists of
// letters, digits and a few signs, so faults may contain it.
func isName(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && n.Value != "" && len(n.Value) <= maxName &&
		strings.Trim(n.Value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == ""
}

const noAlias = "anchors and aliases aren't supported; write the value"

// assignList sets field to a list of n elements and calls element to set each. For n = 0 it
// sets nil.
func assignList(field reflect.Value, n int, element func(element reflect.Value, i int)) {
	list := reflect.Zero(field.Type())
	for i := range n {
		list = reflect.Append(list, reflect.Zero(field.Type().Elem()))
		element(list.Index(i), i)
	}
	field.Set(list)
}

// assignScalar sets field to the value of a node, or returns an error if the node's YAML
// type is wrong. The error doesn't contain the value, which may be a secret.
func assignScalar(field reflect.Value, n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		return errors.New(noAlias)
	}
	tag := n.ShortTag()
	want, advice := "text", "put it in quotes"
	_, fits := field.Addr().Interface().(encoding.TextUnmarshaler)
	switch {
	case fits:
		// Any scalar is text here, even if YAML takes it for a date, number or bool.
		fits = tag == "!!str" || tag == "!!int" || tag == "!!float" || tag == "!!bool" || tag == "!!timestamp"
	case field.Kind() == reflect.Int:
		want, advice = "a whole number", "write digits without quotes"
		fits = tag == "!!int"
	case field.Kind() == reflect.Bool:
		want, advice = "true or false", "write one of them without quotes"
		fits = tag == "!!bool"
	default:
		fits = tag == "!!str"
	}
	if n.Kind == yaml.ScalarNode && fits {
		return assign(field, n.Value)
	}
	if _, isColor := field.Addr().Interface().(*Color); isColor && tag == "!!null" {
		return errors.New(`has no value, since YAML takes # for the beginning of a comment; put the colour in quotes, such as "#2f5fe0"`)
	}
	if tag == "!!null" {
		return errors.New("has no value; give it one or delete the line")
	}
	return fmt.Errorf("is %s, not %s; %s", describe(n), want, advice)
}

// describe returns the type of a node in words.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a group of keys"
	}
	switch n.ShortTag() {
	case "!!null":
		return "empty"
	case "!!str":
		return "text"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	default:
		return "of a type that isn't used here"
	}
}

// assign sets field from text. Numbers must be plain decimals, and bools true or false, both
// in the file and in the environment.
func assign(field reflect.Value, text string) error {
	switch to := field.Addr().Interface().(type) {
	case *netip.Prefix: // its own UnmarshalText refuses bare addresses, and accepts prefixes that parsePrefix refuses
		prefix, err := parsePrefix(text)
		if err != nil {
			return err
		}
		*to = prefix
		return nil
	case encoding.TextUnmarshaler:
		return to.UnmarshalText([]byte(text))
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil || strconv.Itoa(n) != text { // 017 is ambiguous: octal or decimal
			return fmt.Errorf("%s isn't a whole number; write digits only", quote(text))
		}
		field.SetInt(int64(n))
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%s isn't true or false", quote(text))
		}
		field.SetBool(text == "true")
	default:
		panic("config: field of type " + field.Type().String())
	}
	return nil
}
