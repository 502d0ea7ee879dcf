package locale

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/language"
)

//go:embed *.json
var files embed.FS

// Catalogue has every sentence on the pages, by key. A sentence has gaps like {name}. A
// sentence that depends on a number has a key for each plural form of its language, such as
// "key.one" and "key.other"; the value of the gap n selects the form. The gap site is always
// filled.
//
// A Catalogue doesn't change after [Parse], so concurrent use is safe.
type Catalogue struct {
	Lang      string // BCP 47, for <html lang>
	Dir       string // direction of the text, for <html dir>: "ltr" or "rtl"
	Site      string // the site's name
	tag       language.Tag
	sentences map[string]string
}

// dirKey is the key of the direction in a catalogue's file.
const dirKey = "dir"

// loaded has a [*Catalogue] without a site's name for each language that was loaded. The portal,
// the panels' hosts and mails have a catalogue each. Those of one language share their sentences,
// which take 80 kB.
var loaded sync.Map

// Load returns the catalogue of a language that this package has. site is the site's name.
func Load(lang, site string) (*Catalogue, error) {
	shared, ok := loaded.Load(lang)
	if !ok {
		file, err := files.ReadFile(lang + ".json")
		if err != nil {
			return nil, fmt.Errorf("read catalogue: %w", err)
		}
		if shared, err = Parse(lang, "", file); err != nil {
			return nil, err
		}
		loaded.Store(lang, shared)
	}
	c := *shared.(*Catalogue)
	c.Site = site
	return &c, nil
}

// Parse returns the catalogue of a language (BCP 47) from a file: a JSON object with the sentences
// by key, and with the direction of the text, "ltr" or "rtl", under the key "dir". It returns an
// error if a sentence doesn't have exactly the plural forms of the language.
func Parse(lang, site string, file []byte) (*Catalogue, error) {
	tag, err := language.Parse(lang)
	if err != nil {
		return nil, fmt.Errorf("catalogue %s: %w", lang, err)
	}
	c := &Catalogue{Lang: lang, Site: site, tag: tag}
	if err := json.Unmarshal(file, &c.sentences); err != nil {
		return nil, fmt.Errorf("catalogue %s: %w", lang, err)
	}
	c.Dir = c.sentences[dirKey]
	delete(c.sentences, dirKey)
	if c.Dir != "ltr" && c.Dir != "rtl" {
		return nil, fmt.Errorf("catalogue %s: the direction is %q, not ltr or rtl", lang, c.Dir)
	}
	if err := c.checkForms(); err != nil {
		return nil, fmt.Errorf("catalogue %s: %w", lang, err)
	}
	return c, nil
}

// Text returns the sentence with this key as plain text. args are pairs of a gap's name and its
// value, which may also be a [*Message], or a []string for [Catalogue.List]. The value of the gap n
// must be an int if the sentence has plural forms. For a key that doesn't exist, Text returns the
// key in the brackets ⟦ and ⟧; tests search the pages for them.
func (c *Catalogue) Text(key string, args ...any) string {
	return c.fill(c.form(key, args), args, c.text)
}

// Rich returns the sentence with this key as HTML, for gaps with markup such as a <time>. Values of
// type template.HTML are not escaped; everything else is.
func (c *Catalogue) Rich(key string, args ...any) template.HTML {
	sentence := template.HTMLEscapeString(c.form(key, args))
	return template.HTML(c.fill(sentence, args, func(value any) string {
		if markup, ok := value.(template.HTML); ok {
			return string(markup)
		}
		return template.HTMLEscapeString(c.text(value))
	}))
}

// Sentence returns the text of m, or "" for nil.
func (c *Catalogue) Sentence(m *Message) string {
	if m == nil {
		return ""
	}
	return c.Text(m.key, m.args...)
}

// List returns the items of a list as one text.
func (c *Catalogue) List(items []string) string {
	list := ""
	for i, item := range items {
		if i == 0 {
			list = c.isolate(item)
			continue
		}
		gaps := []any{"list", list, "item", c.isolate(item)}
		list = c.fill(c.form("list.next", nil), gaps, func(value any) string { return value.(string) })
	}
	return list
}

// Day returns the date of a time, in the time's zone.
func (c *Catalogue) Day(at time.Time) string {
	return c.Text("time.day", "day", at.Day(), "month", c.Month(at.Month()), "year", at.Year())
}

// DayAndTime returns the date and the time of day. layout is the format of the time of day, such
// as [time.TimeOnly].
func (c *Catalogue) DayAndTime(at time.Time, layout string) string {
	return c.Text("time.minute", "date", c.Day(at), "time", at.Format(layout))
}

// Month returns the short name of a month.
func (c *Catalogue) Month(m time.Month) string { return c.Text("month." + strconv.Itoa(int(m))) }

// text returns the text of a gap's value.
func (c *Catalogue) text(value any) string {
	switch value := value.(type) {
	case *Message:
		return c.Sentence(value)
	case []string:
		return c.List(value)
	case int:
		return strconv.Itoa(value) // digits keep their order in text of both directions
	}
	return c.isolate(fmt.Sprint(value))
}

// Marks that isolate text of unknown direction from the text around it (UAX #9, section 2.4).
const (
	firstStrongIsolate = "\u2068"
	popIsolate         = "\u2069"
)

// isolate returns a value for a gap. In text from right to left it isolates the value: otherwise
// an address or a Latin name there would change places with its neighbours. Marks are used because
// most sentences are plain text, in which <bdi> isn't possible.
func (c *Catalogue) isolate(value string) string {
	if c.Dir != "rtl" {
		return value
	}
	return firstStrongIsolate + value + popIsolate
}

// form returns the sentence with this key, in the plural form for the gap n, with its gaps
// unfilled.
func (c *Catalogue) form(key string, args []any) string {
	if s, ok := c.sentences[key]; ok {
		return s
	}
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] != "n" {
			continue
		}
		if n, ok := args[i+1].(int); ok {
			if s, ok := c.sentences[key+"."+formOf(c.tag, n)]; ok {
				return s
			}
		}
	}
	return "⟦" + key + "⟧"
}

// fill fills all gaps at once, so that it doesn't replace a gap's name inside a value, which
// another user may have chosen.
func (c *Catalogue) fill(sentence string, args []any, show func(any) string) string {
	if !strings.Contains(sentence, "{") {
		return sentence
	}
	var pairs []string
	for i := 0; i+1 < len(args); i += 2 {
		pairs = append(pairs, fmt.Sprintf("{%v}", args[i]), show(args[i+1]))
	}
	pairs = append(pairs, "{site}", show(c.Site))
	return strings.NewReplacer(pairs...).Replace(sentence)
}
