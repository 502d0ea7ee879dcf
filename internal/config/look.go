package config

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
)

// Color is a colour of sRGB, such as #2f5fe0 in lower case; empty is none.
type Color string

// UnmarshalText takes # and six hexadecimal digits, or nothing.
func (c *Color) UnmarshalText(text []byte) error {
	color := strings.ToLower(string(text))
	if _, err := strconv.ParseUint(strings.TrimPrefix(color, "#"), 16, 32); color != "" && (err != nil || len(color) != len("#2f5fe0") || color[0] != '#') {
		return fmt.Errorf(`%s isn't a colour; write # and six hexadecimal digits in quotes, such as "#2f5fe0"`, quote(string(text)))
	}
	*c = Color(color)
	return nil
}

// rgb returns the three parts, 0 to 255.
func (c Color) rgb() [3]float64 {
	n, _ := strconv.ParseUint(string(c[1:]), 16, 32)
	return [3]float64{float64(n >> 16), float64(n >> 8 & 0xff), float64(n & 0xff)}
}

// luminance is the relative luminance of WCAG 2.2.
func (c Color) luminance() float64 {
	sum := 0.0
	for i, part := range c.rgb() {
		part /= 255
		if part <= 0.04045 {
			part /= 12.92
		} else {
			part = math.Pow((part+0.055)/1.055, 2.4)
		}
		sum += part * [3]float64{0.2126, 0.7152, 0.0722}[i]
	}
	return sum
}

// contrast is the contrast ratio of WCAG 2.2, from 1 to 21.
func contrast(a, b Color) float64 {
	bright, dark := a.luminance(), b.luminance()
	if bright < dark {
		bright, dark = dark, bright
	}
	return (bright + 0.05) / (dark + 0.05)
}

// leastContrast is what WCAG 2.2 asks for between text and its background (1.4.3).
const leastContrast = 4.5

// The backgrounds of the pages that are nearest to an accent: the one behind links that
// stand out least. Text on the accent is white in the light scheme and nearly black in the
// dark one, which is further away. They are --soft in app.css.
const (
	lightBackground Color = "#eef1f6"
	darkBackground  Color = "#1e232d"
)

// checkAccent reports an accent that text or its background doesn't stand out from.
func checkAccent(c Config, fault func(err error, keys ...string)) {
	light, dark := c.Accent.Light, c.Accent.Dark
	switch {
	case light == "" && dark == "":
		return
	case light == "":
		fault(fmt.Errorf(`needs accent.light beside it, for browsers that prefer light pages; write light: "%s"`, readable(dark, lightBackground)), "accent.dark")
	case dark == "":
		fault(fmt.Errorf(`needs accent.dark beside it, for browsers that prefer dark pages; write dark: "%s"`, readable(light, darkBackground)), "accent.light")
	}
	fault(checkContrast(light, lightBackground, "light", "darker"), "accent.light")
	fault(checkContrast(dark, darkBackground, "dark", "brighter"), "accent.dark")
}

func checkContrast(accent, background Color, scheme, way string) error {
	if accent == "" {
		return nil
	}
	got := contrast(accent, background)
	if got >= leastContrast {
		return nil
	}
	return fmt.Errorf(`%s can't be read on %s pages: its contrast to %s is %.1f and must be at least %.1f; write "%s", or another %s colour`,
		accent, scheme, background, math.Floor(got*10)/10, leastContrast, readable(accent, background), way)
}

// readable returns the accent itself, or as much of it in a mixture with black or white as
// can be read on the background.
func readable(accent, background Color) Color {
	toward := 0.0
	if background.luminance() < 0.5 {
		toward = 255
	}
	const steps = 100
	for step := range steps + 1 {
		mixed := "#"
		for _, part := range accent.rgb() {
			mixed += fmt.Sprintf("%02x", int(part+(toward-part)*float64(step)/steps))
		}
		if contrast(Color(mixed), background) >= leastContrast {
			return Color(mixed)
		}
	}
	return accent // never: black and white can be read
}

const (
	// maxPicture keeps the first view of a browser small, and a page with the icons of
	// all panels.
	maxPicture = 32 << 10

	// maxPixels bounds the width and the height of a PNG: no page shows more, and one of
	// few bytes could fill the memory of a browser.
	maxPixels = 1024
)

// Picture is a logo or an icon that was read and checked.
type Picture struct {
	Type    string // media type
	Content []byte
}

// ReadPicture reads an SVG or a PNG file. The error says what is wrong with it.
func ReadPicture(path string) (Picture, error) {
	f, err := os.Open(path)
	if err != nil {
		return Picture{}, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxPicture+1))
	switch {
	case err != nil:
		return Picture{}, err
	case len(content) > maxPicture:
		return Picture{}, fmt.Errorf("%s is larger than %d KiB; make it smaller, since each page shows it", quote(path), maxPicture>>10)
	case bytes.HasPrefix(content, []byte("\x89PNG\r\n\x1a\n")):
		err = checkPNG(content)
		return Picture{"image/png", content}, wrapPicture(path, err)
	default:
		err = checkSVG(content)
		return Picture{"image/svg+xml", content}, wrapPicture(path, err)
	}
}

func wrapPicture(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %w", quote(path), err)
}

func checkPNG(content []byte) error {
	size, err := png.DecodeConfig(bytes.NewReader(content))
	if err == nil && (size.Width > maxPixels || size.Height > maxPixels) {
		return fmt.Errorf("has %d × %d pixels; make it at most %d × %d", size.Width, size.Height, maxPixels, maxPixels)
	}
	if err == nil {
		_, err = png.Decode(bytes.NewReader(content))
	}
	if err != nil {
		return fmt.Errorf("is a damaged PNG file (%w); save it again", err)
	}
	return nil
}

// checkSVG takes a whole SVG document that holds no script and defines no entity. Pages show it
// as a picture, in which browsers run no script; one that holds a script is more likely a
// mistake than a logo.
func checkSVG(content []byte) error {
	document := xml.NewDecoder(bytes.NewReader(content))
	root := false
	for {
		token, err := document.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.New("is neither an SVG nor a PNG file; save it as one of them")
		}
		switch token := token.(type) {
		case xml.Directive:
			if bytes.ContainsRune(token, '[') {
				return errors.New("defines entities in its document type declaration; save it as a plain SVG file")
			}
		case xml.StartElement:
			if !root && (token.Name.Local != "svg" || token.Name.Space != "http://www.w3.org/2000/svg") {
				return errors.New(`doesn't begin with <svg xmlns="http://www.w3.org/2000/svg">; save it as a plain SVG file`)
			}
			root = true
			if err := checkElement(token); err != nil {
				return err
			}
		}
	}
	if !root {
		return errors.New("is neither an SVG nor a PNG file; save it as one of them")
	}
	return nil
}

func checkElement(element xml.StartElement) error {
	if strings.EqualFold(element.Name.Local, "script") {
		return errors.New("contains a script; save it as a plain SVG file")
	}
	for _, attribute := range element.Attr {
		if strings.HasPrefix(strings.ToLower(attribute.Name.Local), "on") {
			return fmt.Errorf("contains a script in %s=; save it as a plain SVG file", attribute.Name.Local)
		}
	}
	return nil
}

// checkPicture reports a picture that can't be shown.
func checkPicture(path string) error {
	if path == "" {
		return nil
	}
	_, err := ReadPicture(path)
	return err
}
