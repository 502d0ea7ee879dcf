package mail

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"strings"

	"github.com/wneessen/go-mail/log"
	"github.com/wneessen/go-mail/smtp"
)

// stars stand for a user and a password.
const stars = "********"

// longWord matches what may be the token of a link, which has 43 characters.
var longWord = regexp.MustCompile(`[A-Za-z0-9+/=_-]{40,}`)

// hideSecrets puts stars into the answer that err quotes: in place of the password, in each form in
// which it is sent, and in place of words that may be tokens. A server may repeat what it gets, and
// errors are stored and logged.
func (m *Mailer) hideSecrets(err error) {
	var answer *textproto.Error
	if !errors.As(err, &answer) {
		return
	}
	if password := m.Password.Reveal(); password != "" {
		for _, secret := range []string{"\x00" + m.User + "\x00" + password, password} {
			answer.Msg = strings.ReplaceAll(answer.Msg, base64.StdEncoding.EncodeToString([]byte(secret)), stars)
		}
		answer.Msg = strings.ReplaceAll(answer.Msg, password, stars)
	}
	answer.Msg = longWord.ReplaceAllString(answer.Msg, stars)
}

// trace passes a line to Trace, in a form that is safe for a terminal.
func (m *Mailer) trace(line string) {
	if m.Trace != nil {
		m.Trace(printable(line))
	}
}

// tracer passes the client's log entries to [Mailer.trace]. It is a [log.Logger].
type tracer struct {
	mailer    *Mailer
	mechanism string // the mechanism of the AUTH command, just before it is sent; otherwise ""
}

// startTrace returns a tracer, and makes the client log to it if the mailer has a Trace.
func (m *Mailer) startTrace(client *smtp.Client) *tracer {
	t := &tracer{mailer: m}
	if m.Trace != nil {
		client.SetLogger(t)
		client.SetDebugLog(true)
	}
	return t
}

// redacted is what the client logs in place of a line of AUTH.
const redacted = "<SMTP auth data redacted>"

// Debugf traces a command or an answer.
func (t *tracer) Debugf(entry log.Log) {
	text := fmt.Sprintf(entry.Format, entry.Messages...)
	if entry.Direction != log.DirClientToServer {
		for line := range strings.SplitSeq(strings.ReplaceAll(text, redacted, stars), "\n") {
			t.mailer.trace("<- " + line)
		}
		return
	}
	if text == redacted {
		text = stars
		if t.mechanism != "" {
			text, t.mechanism = "AUTH "+t.mechanism+" "+stars, ""
		}
	}
	t.mailer.trace("-> " + text)
}

// Infof, Warnf and Errorf are never called by the client.
func (t *tracer) Infof(entry log.Log)  { t.Debugf(entry) }
func (t *tracer) Warnf(entry log.Log)  { t.Debugf(entry) }
func (t *tracer) Errorf(entry log.Log) { t.Debugf(entry) }
