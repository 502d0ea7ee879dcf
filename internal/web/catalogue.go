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

// catalogue has every sentence on the pages, by key. A sentence has gaps like {name}. A
// sentence that depends on a number has two forms, "key.one" and "key.other"; the value of the
// gap n decides between them. The gap site is always filled.
type catalogue struct {
	lang      string // BCP 47, for <html lang>
	site      string
	sentences map[string]string
}

// loadCatalogue reads the file of a language from locales. site is the site's name.
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

// text returns the sentence key as plain text. args are pairs of a gap's name and its value,
// which may be a *message. For a key that doesn't exist it returns the key in the brackets ⟦ and
// ⟧, for which tests search the pages.
func (c *catalogue) text(key string, args ...any) string {
	return c.fill(c.form(key, args), args, func(value any) string {
		if m, ok := value.(*message); ok {
			return c.sentence(m)
		}
		return fmt.Sprint(value)
	})
}

// rich returns the sentence key as HTML, for gaps with markup such as a <time>. Values of type
// template.HTML are not escaped; everything else is.
func (c *catalogue) rich(key string, args ...any) template.HTML {
	sentence := template.HTMLEscapeString(c.form(key, args))
	return template.HTML(c.fill(sentence, args, func(value any) string {
		if markup, ok := value.(template.HTML); ok {
			return string(markup)
		}
		return template.HTMLEscapeString(fmt.Sprint(value))
	}))
}

// sentence returns the text of m, or "" for nil.
func (c *catalogue) sentence(m *message) string {
	if m == nil {
		return ""
	}
	return c.text(m.key, m.args...)
}

// form returns the sentence key before its gaps are filled.
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

// fill fills all gaps at once, so that it doesn't replace a gap's name inside a value, which
// another user may have chosen.
func (c *catalogue) fill(sentence string, args []any, show func(any) string) string {
	var pairs []string
	for i := 0; i+1 < len(args); i += 2 {
		pairs = append(pairs, fmt.Sprintf("{%v}", args[i]), show(args[i+1]))
	}
	pairs = append(pairs, "{site}", show(c.site))
	return strings.NewReplacer(pairs...).Replace(sentence)
}
