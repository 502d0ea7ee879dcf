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

// Color is an sRGB colour in lower case, such as "#2f5fe0". It may be "".
type Color string

// UnmarshalText accepts # and six hexadecimal digits, or empty text.
func (c *Color) UnmarshalText(text []byte) error {
	color := strings.ToLower(string(text))
	if _, err := strconv.ParseUint(strings.TrimPrefix(color, "#"), 16, 32); color != "" && (err != nil || len(color) != len("#2f5fe0") || color[0] != '#') {
		return fmt.Errorf(`%s isn't a colour; write # and six hexadecimal digits in quotes, such as "#2f5fe0"`, quote(string(text)))
	}
	*c = Color(color)
	return nil
}

// rgb returns red, green and blue, each 0 to 255.
func (c Color) rgb() [3]float64 {
	n, _ := strconv.ParseUint(string(c[1:]), 16, 32)
	return [3]float64{float64(n >> 16), float64(n >> 8 & 0xff), float64(n & 0xff)}
}

// luminance returns the relative luminance, as WCAG 2.2 defines it.
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

// contrast returns the contrast ratio, from 1 to 21, as WCAG 2.2 defines it.
func contrast(a, b Color) float64 {
	bright, dark := a.luminance(), b.luminance()
	if bright < dark {
		bright, dark = dark, bright
	}
	return (bright + 0.05) / (dark + 0.05)
}

// leastContrast is the contrast that WCAG 2.2 requires between text and its background
// (success criterion 1.4.3).
const leastContrast = 4.5

// The page backgrounds with the least contrast to links, --soft in app.css. Text on an
// accent is white on light pages and nearly black on dark ones, so its contrast to the accent
// is greater.
const (
	lightBackground Color = "#eef1f6"
	darkBackground  Color = "#1e232d"
)

// checkAccent adds a fault for each accent with too little contrast, and a fault if only one
// of the two accents is set.
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

// readable returns the accent if its contrast to the background is sufficient. Otherwise it
// mixes the accent with just enough black or white.
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
	return accent // unreachable: black or white has enough contrast
}

const (
	// maxPicture is the greatest size of a picture in bytes: the list of panels loads one
	// for each panel.
	maxPicture = 32 << 10

	// maxPixels is the greatest width and height of a PNG. A small file with a huge picture
	// could exhaust a browser's memory.
	maxPixels = 1024
)

// Picture is a checked logo or icon.
type Picture struct {
	Type    string // media type
	Content []byte
}

// ReadPicture reads and checks an SVG or PNG file. The error says what is wrong and, for
// a file that can be read, what to do.
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

// checkSVG returns an error unless content is a whole SVG document that has neither scripts nor
// entity definitions. Browsers run no script in an SVG that an <img> element shows, so the
// check isn't what protects users; but a logo with a script is probably a mistake.
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

// checkPicture returns the error of [ReadPicture], or nil for an empty path.
func checkPicture(path string) error {
	if path == "" {
		return nil
	}
	if err := checkLiteral(path); err != nil {
		return err
	}
	_, err := ReadPicture(path)
	return err
}
