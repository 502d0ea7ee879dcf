package locale

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

// formNames are the ends of the keys of a sentence's plural forms, as CLDR names them.
var formNames = map[plural.Form]string{
	plural.Zero: "zero", plural.One: "one", plural.Two: "two",
	plural.Few: "few", plural.Many: "many", plural.Other: "other",
}

// formOf returns the name of the plural form that a language has for n.
func formOf(tag language.Tag, n int) string {
	n = max(n, -n, 0) // -n overflows for the least int
	return formNames[plural.Cardinal.MatchPlural(tag, n, 0, 0, 0, 0)]
}

// Every plural form that a language has for whole numbers is the form of a number up to highest, or
// that of million.
const (
	highest = 1000
	million = 1_000_000
)

// formsOf returns the names of the plural forms that a language has for whole numbers, sorted.
// The form other, which CLDR requires of every language, is always among them.
func formsOf(tag language.Tag) []string {
	forms := []string{formNames[plural.Other], formOf(tag, million)}
	for n := range highest + 1 {
		if form := formOf(tag, n); !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	slices.Sort(forms)
	return slices.Compact(forms)
}

// splitForm divides the key of a plural form into the key of its sentence and the form's name.
// For any other key, isForm is false.
func splitForm(key string) (stem, form string, isForm bool) {
	dot := strings.LastIndexByte(key, '.')
	if dot < 0 {
		return key, "", false
	}
	stem, form = key[:dot], key[dot+1:]
	for _, name := range formNames {
		if form == name {
			return stem, form, true
		}
	}
	return key, "", false
}

// checkForms returns an error if a sentence lacks a plural form that the language needs, has a form
// that the language doesn't have, or exists without forms as well.
func (c *Catalogue) checkForms() error {
	needed := formsOf(c.tag)
	for key := range c.sentences {
		stem, form, isForm := splitForm(key)
		if !isForm {
			continue
		}
		if !slices.Contains(needed, form) {
			return fmt.Errorf("%s: the language has no plural form %s", key, form)
		}
		if _, ok := c.sentences[stem]; ok {
			return fmt.Errorf("%s: the sentence exists with and without plural forms", stem)
		}
		for _, form := range needed {
			if _, ok := c.sentences[stem+"."+form]; !ok {
				return fmt.Errorf("%s: the plural form %s is missing", stem, form)
			}
		}
	}
	return nil
}
