package config

import (
	"bytes"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// encodedPNG returns an empty PNG picture of this size.
func encodedPNG(t *testing.T, width, height int) string {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewRGBA(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">`

func TestPicturesAreChecked(t *testing.T) {
	dir := t.TempDir()
	write := func(content string) string {
		path := filepath.Join(dir, "logo")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, content := range []string{
		svg + `<path d="M0 0h8v8z"/></svg>`,
		`<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">` + svg + `</svg>`,
		encodedPNG(t, 1024, 10),
	} {
		if _, err := Load("", []string{"SALLYPORT_LOGO=" + write(content)}); err != nil {
			t.Errorf("%.60q: %v", content, err)
		}
	}
	for content, want := range map[string]string{
		"":                                      "is neither an SVG nor a PNG file",
		"GIF89a":                                "is neither an SVG nor a PNG file",
		svg + "<path>":                          "is neither an SVG nor a PNG file",
		"<html></html>":                         "doesn't begin with <svg",
		"<svg/>":                                "doesn't begin with <svg",
		svg + "<script>alert(1)</script></svg>": "contains a script; save it as a plain SVG file",
		svg + `<g onLoad="alert(1)"/></svg>`:    "contains a script in onLoad=",
		`<!DOCTYPE svg [<!ENTITY a "b">]>` + svg + "</svg>": "defines entities",
		encodedPNG(t, 1025, 10):                             "has 1025 × 10 pixels; make it at most 1024 × 1024",
		encodedPNG(t, 10, 10)[:60]:                          "is a damaged PNG file",
		svg + strings.Repeat(" ", 32<<10) + "</svg>":        "is larger than 32 KiB",
	} {
		path := write(content)
		_, err := Load("", []string{"SALLYPORT_LOGO=" + path})
		if err == nil || !strings.Contains(err.Error(), "environment: SALLYPORT_LOGO: \""+path) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: got %v, want the path and %q", content, err, want)
		}
	}
	if _, err := Load("", []string{"SALLYPORT_LOGO=" + dir + "/none"}); err == nil || !strings.Contains(err.Error(), "SALLYPORT_LOGO: open "+dir+"/none: no such file") {
		t.Errorf("missing file: got %v", err)
	}
}

func TestAccentsAreReadable(t *testing.T) {
	for text, want := range map[string]string{
		"accent: {light: '#2f5fe0', dark: '#86a5ff'}\n":    "",
		"accent: {light: '#2F5FE0', dark: '#86A5FF'}\n":    "",
		"accent: {light: '#0a0', dark: '#86a5ff'}\n":       `sallyport.yaml:1: accent.light: "#0a0" isn't a colour; write # and six hexadecimal digits in quotes, such as "#2f5fe0"`,
		"accent:\n  light: #2f5fe0\n":                      `sallyport.yaml:2: accent.light: has no value, since YAML takes # for the beginning of a comment; put the colour in quotes, such as "#2f5fe0"`,
		"accent: '#2f5fe0'\n":                              "sallyport.yaml:1: accent: needs keys below it: dark, light",
		"accent:\n  light: '#ff8800'\n  dark: '#ff8800'\n": `sallyport.yaml:2: accent.light: #ff8800 can't be read on light pages: its contrast to #eef1f6 is 2.1 and must be at least 4.5; write "#a85900", or another darker colour`,
		"accent:\n  light: '#1a237e'\n  dark: '#1a237e'\n": `sallyport.yaml:3: accent.dark: #1a237e can't be read on dark pages: its contrast to #1e232d is 1.1 and must be at least 4.5; write "#8186b8", or another brighter colour`,
		"accent:\n  light: '#1a237e'\n":                    `sallyport.yaml:2: accent.light: needs accent.dark beside it, for browsers that prefer dark pages; write dark: "#8186b8"`,
		"accent:\n  dark: '#86a5ff'\n":                     `sallyport.yaml:2: accent.dark: needs accent.light beside it, for browsers that prefer light pages; write light: "#`,
	} {
		_, _, err := load(file{path: "sallyport.yaml", text: []byte(text), mode: 0o600}, nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q:\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// checkAccent uses the background colours of the style sheet.
func TestAccentsAreCheckedAgainstTheStyleSheet(t *testing.T) {
	css, err := os.ReadFile("../page/static/app.css")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Color{lightBackground, darkBackground} {
		if !strings.Contains(string(css), "--soft: "+string(want)+";") {
			t.Errorf("app.css has no --soft: %s", want)
		}
	}
	for _, c := range []struct{ a, b Color }{
		{"#2f5fe0", lightBackground}, {"#86a5ff", darkBackground}, {"#000000", lightBackground}, {"#ffffff", darkBackground},
	} {
		if got := contrast(c.a, c.b); got < leastContrast {
			t.Errorf("contrast of %s to %s is %.2f, want the least contrast or more", c.a, c.b, got)
		}
	}
}
