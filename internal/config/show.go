package config

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Show returns a configuration as YAML without secrets. A comment beside each key names the
// source of its value: a line of the file, a variable, or the default.
func (p Places) Show(c Config) (string, error) {
	if len(c.KeyRingCommand) > 1 {
		// An argument may be a password or a token.
		c.KeyRingCommand = []string{c.KeyRingCommand[0], redacted}
	}
	var node yaml.Node
	if err := node.Encode(c); err != nil {
		return "", fmt.Errorf("print the configuration: %w", err)
	}
	annotate(&node, "", p.byKey)
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return "", fmt.Errorf("print the configuration: %w", err)
	}
	return b.String(), encoder.Close()
}

// annotate adds a comment to each key of a mapping: the source of the key's value. The keys'
// whole names begin with prefix.
func annotate(mapping *yaml.Node, prefix string, places map[string]Fault) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		name, value := mapping.Content[i], mapping.Content[i+1]
		key := prefix + name.Value
		place, set := places[key]
		if value.Kind == yaml.MappingNode && !set {
			annotate(value, key+".", places)
			continue
		}
		comment := "default"
		switch {
		case set && place.Source == environment:
			comment = place.Key
		case set:
			comment = fmt.Sprintf("%s:%d", place.Source, place.Line)
		}
		if value.Kind == yaml.ScalarNode && !strings.Contains(value.Value, "\n") || len(value.Content) == 0 {
			value.LineComment = comment
		} else {
			name.LineComment = comment
		}
	}
}
