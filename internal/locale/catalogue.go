package locale

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
)

//go:embed *.json
var files embed.FS

// Catalogue has every sentence on the pages, by key. A sentence has gaps like {name}. A
// sentence that depends on a number has two forms, "key.one" and "key.other"; the value of the
// gap n decides between them. The gap site is always filled.
//
// A Catalogue doesn't change after [Load], so concurrent use is safe.
type Catalogue struct {
	Lang      string // BCP 47, for <html lang>
	Site      string // the site's name
	sentences map[string]string
}

// Load reads the catalogue of a language. site is the site's name.
func Load(lang, site string) (*Catalogue, error) {
	file, err := files.ReadFile(lang + ".json")
	if err != nil {
		return nil, fmt.Errorf("read catalogue: %w", err)
	}
	c := &Catalogue{Lang: lang, Site: site}
	if err := json.Unmarshal(file, &c.sentences); err != nil {
		return nil, fmt.Errorf("read catalogue %s: %w", lang, err)
	}
	return c, nil
}

// Text returns the sentence key as plain text. args are pairs of a gap's name and its value,
// which may be a [*Message]. For a key that doesn't exist it returns the key in the brackets ⟦ and
// ⟧, for which tests search the pages.
func (c *Catalogue) Text(key string, args ...any) string {
	return c.fill(c.form(key, args), args, func(value any) string {
		if m, ok := value.(*Message); ok {
			return c.Sentence(m)
		}
		return fmt.Sprint(value)
	})
}

// Rich returns the sentence key as HTML, for gaps with markup such as a <time>. Values of type
// template.HTML are not escaped; everything else is.
func (c *Catalogue) Rich(key string, args ...any) template.HTML {
	sentence := template.HTMLEscapeString(c.form(key, args))
	return template.HTML(c.fill(sentence, args, func(value any) string {
		if markup, ok := value.(template.HTML); ok {
			return string(markup)
		}
		return template.HTMLEscapeString(fmt.Sprint(value))
	}))
}

// Sentence returns the text of m, or "" for nil.
func (c *Catalogue) Sentence(m *Message) string {
	if m == nil {
		return ""
	}
	return c.Text(m.key, m.args...)
}

// form returns the sentence key before its gaps are filled.
func (c *Catalogue) form(key string, args []any) string {
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
func (c *Catalogue) fill(sentence string, args []any, show func(any) string) string {
	var pairs []string
	for i := 0; i+1 < len(args); i += 2 {
		pairs = append(pairs, fmt.Sprintf("{%v}", args[i]), show(args[i+1]))
	}
	pairs = append(pairs, "{site}", show(c.Site))
	return strings.NewReplacer(pairs...).Replace(sentence)
}
