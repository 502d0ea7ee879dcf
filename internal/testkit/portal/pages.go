package portal

import (
	"fmt"
	"html"
	"regexp"
	"slices"
)

var (
	OneBackupCode = regexp.MustCompile(`\b[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}\b`)
	codeList      = regexp.MustCompile(`(?s)<ul class="codes".*?</ul>`)
	unseen        = regexp.MustCompile(`(?s)<(script|style|svg).*?</(script|style|svg)>|<[^>]*>`)
)

// ShownCodes returns the backup codes that a page lists.
func ShownCodes(page string) []string {
	return OneBackupCode.FindAllString(codeList.FindString(page), -1)
}

// VisibleText returns the text of a page that a browser shows.
func VisibleText(page string) string {
	return html.UnescapeString(unseen.ReplaceAllString(page, " "))
}

// Unescape returns a page's text without HTML's escapes.
func Unescape(text string) string { return html.UnescapeString(text) }

// Summary returns the status and the location of an answer.
func Summary(a Answer) string { return fmt.Sprint(a.Status, " ", a.Location) }

// OneOf reports whether a status is among those in allowed.
func OneOf(status int, allowed ...int) bool { return slices.Contains(allowed, status) }

var linkPattern = regexp.MustCompile(`(?:href|src|action|poster|srcset|data|formaction)="([^"]*)"`)

// LinksOn returns the URLs in the attributes of a page, unescaped.
func LinksOn(page string) []string {
	var all []string
	for _, found := range linkPattern.FindAllStringSubmatch(page, -1) {
		all = append(all, Unescape(found[1]))
	}
	return all
}

var hiddenPattern = regexp.MustCompile(`<input[^>]*\sname="([^"]+)"[^>]*\svalue="([^"]*)"`)

// FieldOf returns the value of a hidden field on a page.
func FieldOf(page, name string) string {
	for _, found := range hiddenPattern.FindAllStringSubmatch(page, -1) {
		if found[1] == name {
			return html.UnescapeString(found[2])
		}
	}
	return ""
}
