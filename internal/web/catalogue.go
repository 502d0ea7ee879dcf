package web

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
)

//go:embed locales/*.json
var locales embed.FS

// catalogue holds every sentence that a person is shown, by key. A sentence
// has gaps like {name}; one that depends on a number has two forms, "key.one"
// and "key.other", chosen by the gap n. The gap site is always filled.
type catalogue struct {
	lang      string // BCP 47, for <html lang>
	site      string
	sentences map[string]string
}

// loadCatalogue reads locales/lang.json.
func loadCatalogue(lang, site string) (*catalogue, error) {
	file, err := locales.ReadFile("locales/" + lang + ".json")
	if err != nil {
		return nil, fmt.Errorf("read catalogue: %w", err)
	}
	c := &catalogue{lang: lang, site: site}
	if err := json.Unmarshal(file, &c.sentences); err != nil {
		return nil, fmt.Errorf("read catalogue %s: %w", lang, err)
	}
	return c, nil
}

// text returns the sentence key as plain text; args are pairs of a gap's name
// and its value, where a value may be a *message. A key that doesn't exist is
// returned in brackets, so that it is seen: tests look for them.
func (c *catalogue) text(key string, args ...any) string {
	return c.fill(c.form(key, args), args, func(value any) string {
		if m, ok := value.(*message); ok {
			return c.sentence(m)
		}
		return fmt.Sprint(value)
	})
}

// rich is text as HTML, for gaps that hold markup such as a <time>: only
// values of type template.HTML stay as they are, all else is escaped.
func (c *catalogue) rich(key string, args ...any) template.HTML {
	sentence := template.HTMLEscapeString(c.form(key, args))
	return template.HTML(c.fill(sentence, args, func(value any) string {
		if markup, ok := value.(template.HTML); ok {
			return string(markup)
		}
		return template.HTMLEscapeString(fmt.Sprint(value))
	}))
}

// sentence returns the text of m, and nothing for nil.
func (c *catalogue) sentence(m *message) string {
	if m == nil {
		return ""
	}
	return c.text(m.key, m.args...)
}

// form returns the sentence key with its gaps still open.
func (c *catalogue) form(key string, args []any) string {
	if s, ok := c.sentences[key]; ok {
		return s
	}
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] != "n" {
			continue
		}
		form := key + ".other"
		if fmt.Sprint(args[i+1]) == "1" {
			form = key + ".one"
		}
		if s, ok := c.sentences[form]; ok {
			return s
		}
	}
	return "⟦" + key + "⟧"
}

// fill closes the gaps in one pass, so that a gap's name inside a value, which
// somebody else may have chosen, stays as it is.
func (c *catalogue) fill(sentence string, args []any, show func(any) string) string {
	var pairs []string
	for i := 0; i+1 < len(args); i += 2 {
		pairs = append(pairs, fmt.Sprintf("{%v}", args[i]), show(args[i+1]))
	}
	pairs = append(pairs, "{site}", show(c.site))
	return strings.NewReplacer(pairs...).Replace(sentence)
}
