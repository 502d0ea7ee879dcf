package mail

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"net/netip"
	"net/textproto"
	"strings"
	"time"
	"unicode/utf8"
)

// Message is one mail to one address.
type Message struct {
	ID      string    // the left part of the Message-ID; it stays the same when the mail is sent again
	To      string    // an address without a name
	At      time.Time // the Date
	Lang    string    // language of the texts (BCP 47); empty if unknown
	Subject string    // one line
	Text    string    // plain text, lines end with "\n"
	HTML    string    // the same as HTML; may be empty
}

// compose returns the mail in the form of RFC 5322, with line ends CRLF. The result is ASCII,
// unless an address isn't. The parameters from and domain are the From and Domain of the [Mailer].
func compose(m Message, from netmail.Address, domain string) ([]byte, error) {
	var b bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	header("Date", m.At.Format(time.RFC1123Z))
	header("From", from.String())
	header("To", m.To)
	header("Message-ID", "<"+m.ID+"@"+idDomain(domain)+">")
	header("Subject", headerText(m.Subject))
	// Programs that answer mails automatically, for example while their user is on holiday, must
	// not answer this mail (RFC 3834, section 5).
	header("Auto-Submitted", "auto-generated")
	if m.Lang != "" {
		header("Content-Language", m.Lang)
	}
	header("MIME-Version", "1.0")
	parts := multipart.NewWriter(&b)
	header("Content-Type", "multipart/alternative; boundary="+parts.Boundary())
	b.WriteString("\r\n")
	for _, part := range []struct{ kind, text string }{{"text/plain", m.Text}, {"text/html", m.HTML}} {
		if part.text == "" {
			continue
		}
		encoding, body := encodeBody(part.text)
		w, err := parts.CreatePart(textproto.MIMEHeader{
			"Content-Type":              {part.kind + "; charset=utf-8"},
			"Content-Transfer-Encoding": {encoding},
		})
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(body); err != nil {
			return nil, err
		}
	}
	if err := parts.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// encodeBody encodes text as a body and returns the name of the transfer encoding (RFC 2045,
// section 6): quoted-printable, which people can read, or base64, whichever is shorter.
func encodeBody(text string) (encoding string, body []byte) {
	var quoted bytes.Buffer
	w := quotedprintable.NewWriter(&quoted)
	w.Write([]byte(text)) // a buffer takes everything
	w.Close()
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	if size := base64.StdEncoding.EncodedLen(len(text)); quoted.Len() <= size+size/maxBase64*len("\r\n") {
		return "quoted-printable", quoted.Bytes()
	}
	all := base64.StdEncoding.EncodeToString([]byte(text))
	for ; len(all) > maxBase64; all = all[maxBase64:] {
		body = append(body, all[:maxBase64]+"\r\n"...)
	}
	return "base64", append(body, all...)
}

// idDomain returns the right part of a Message-ID: a host name, or an address literal.
func idDomain(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		return "[IPv6:" + host + "]"
	}
	return host
}

const (
	// maxLine is the length that a line of a header should not exceed (RFC 5322, section 2.1.1).
	maxLine = 78
	// maxBase64 is the greatest length of a line of base64 (RFC 2045, section 6.8).
	maxBase64 = 76
	// maxEncoded is how many bytes of text an encoded word of 75 characters has room for:
	// =?utf-8?b?…?= around base64 (RFC 2047, section 2).
	maxEncoded = 45
)

// headerText returns text as the value of a header. It encodes the whole text (RFC 2047) if a mail
// program would not show it as it is: if the text has characters beyond ASCII, control characters,
// spaces at either end, or words that look encoded. So a line break in text can't begin another
// header.
func headerText(text string) string {
	isPlain := !strings.Contains(text, "=?") && strings.Trim(text, " ") == text && len(text) <= maxLine-len("Subject: ")
	for _, r := range text {
		isPlain = isPlain && r >= ' ' && r <= '~'
	}
	if isPlain {
		return text
	}
	var words []string
	for text = strings.ToValidUTF8(text, "\ufffd"); text != ""; {
		end := min(maxEncoded, len(text))
		for end < len(text) && !utf8.RuneStart(text[end]) {
			end--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(text[:end]))+"?=")
		text = text[end:]
	}
	return strings.Join(words, "\r\n ")
}
