package totp

import (
	"encoding/base32"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"rsc.io/qr"
)

const (
	// maxURIBytes keeps the QR code coarse enough for the camera of an old phone.
	maxURIBytes = 400
	// maxIssuerBytes limits the escaped issuer, which occurs twice in the URI.
	maxIssuerBytes = 96
)

// Base32 returns the secret in the form that a person types (RFC 4648, section 6) without
// padding: 32 letters and digits for 20 bytes.
func Base32(key []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(key)
}

// KeyURI returns the otpauth:// text of the QR code, at most 400 bytes with a secret of up to 64
// bytes. It escapes all bytes except letters, digits and "-._~", so that no name can add a
// parameter. A colon would end the issuer within the label, so each colon in it becomes a space.
// Long names are cut at a character boundary; the secret is never cut.
//
// Source: Google Authenticator wiki, "Key Uri Format".
func KeyURI(issuer, account string, key []byte, p Parameters) string {
	issuer = escape(strings.ReplaceAll(issuer, ":", " "), maxIssuerBytes)
	head := "otpauth://totp/" + issuer + ":"
	tail := "?secret=" + Base32(key) + "&issuer=" + issuer + "&algorithm=" + string(p.Algorithm) +
		"&digits=" + strconv.Itoa(p.Digits) + "&period=" + strconv.FormatInt(int64(p.Period/time.Second), 10)
	return head + escape(account, maxURIBytes-len(head)-len(tail)) + tail
}

// escape percent-encodes text. It stops before the first character that would exceed limit
// bytes.
func escape(text string, limit int) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, r := range text {
		var one []byte
		for _, c := range utf8.AppendRune(nil, r) {
			if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
				one = append(one, c)
			} else {
				one = append(one, '%', hex[c>>4], hex[c&15])
			}
		}
		if b.Len()+len(one) > limit {
			break
		}
		b.Write(one)
	}
	return b.String()
}

// quietZone is the required white margin in modules (ISO/IEC 18004, section 9.1).
const quietZone = 4

// QR returns the QR code of text as an SVG element with a white background and margin, and
// without script or style. label is its name for screen readers.
func QR(text, label string) (string, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", err
	}
	size := strconv.Itoa(code.Size + 2*quietZone)
	var b strings.Builder
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" class="qr" role="img" aria-label="` + attribute.Replace(label) +
		`" viewBox="0 0 ` + size + ` ` + size + `" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h` + size + `v` + size + `H0z"/><path fill="#000" d="`)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			if !code.Black(x, y) {
				continue
			}
			run := 1
			for code.Black(x+run, y) {
				run++
			}
			b.WriteString("M" + strconv.Itoa(x+quietZone) + " " + strconv.Itoa(y+quietZone) + "h" + strconv.Itoa(run) + "v1h-" + strconv.Itoa(run) + "z")
			x += run
		}
	}
	b.WriteString(`"/></svg>`)
	return b.String(), nil
}

var attribute = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;")

// ParseBase32 parses the output of [Base32].
func ParseBase32(text string) ([]byte, error) {
	return base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
}
