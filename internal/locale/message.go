package locale

import "strings"

// Message is a sentence of the catalogue with the values of its gaps. It has no language: the
// same message can be shown in several.
type Message struct {
	key  string
	args []any // name, value, name, value, ...
}

// Say returns a message with the catalogue's sentence that has this key. args are pairs of a gap's
// name and its value.
func Say(key string, args ...any) *Message { return &Message{key, args} }

// Concerns reports whether m's key begins with one of prefixes. Pages use it to find the field
// that an error message is about. For a nil message it is false.
func (m *Message) Concerns(prefixes ...string) bool {
	if m == nil {
		return false
	}
	for _, prefix := range prefixes {
		if strings.HasPrefix(m.key, prefix) {
			return true
		}
	}
	return false
}
