package mail

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"strings"
	"unicode"
)

// Class says what a caller can do about a mail that wasn't sent.
type Class int

const (
	// Temporary: the server can't be reached, or doesn't accept the mail now. A later try may
	// succeed.
	Temporary Class = iota
	// Unanswered: the whole mail was sent, but the server didn't answer. It may have accepted the
	// mail, so another try may deliver a second copy, with the same Message-ID.
	Unanswered
	// BadAddress: no mail will reach this address: the server has no such mailbox, or the address
	// is unusable.
	BadAddress
	// Rejected: the server will never accept this mail. Mails to others may succeed.
	Rejected
	// Setup: no mail can be sent until the operator of Sallyport or of the mail server changes a
	// setting: the server refuses the password or the sender, or isn't trusted.
	Setup
)

// Error is the error of [Mailer.Send].
type Error struct {
	Class  Class
	Code   int    // of the server's answer, such as 550; 0 if the server didn't answer
	Status string // enhanced status code of the answer (RFC 3463), such as "5.1.1"; may be empty
	words  string // of the answer
	text   string
	err    error
}

// Error returns one line. Special characters of the server's answer are escaped.
func (e *Error) Error() string { return e.text }

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.err }

// maxAnswer is how many bytes of a server's answer an error quotes.
const maxAnswer = 200

// failure returns err as an [*Error]. The parameter doing says in words what failed, such as
// "connect". If err is an answer 5xx, the error gets the class permanent.
func failure(doing string, err error, permanent Class) *Error {
	if known := (*Error)(nil); errors.As(err, &known) {
		return known
	}
	e := &Error{Class: Temporary, err: err}
	var answer *textproto.Error
	switch {
	case errors.As(err, &answer):
		e.Code, e.Status, e.words = answer.Code, statusIn(answer.Msg), answer.Msg
		if answer.Code >= 500 {
			e.Class = permanent
		}
		e.text = fmt.Sprintf("%s: the mail server answered %d %q", doing, answer.Code, printable(answer.Msg))
	case isDistrust(err):
		e.Class = Setup
		e.text = fmt.Sprintf("%s: the mail server can't be trusted: %v", doing, err)
	default:
		e.text = fmt.Sprintf("%s: %v", doing, err)
	}
	return e
}

// isDistrust reports whether err says that the server isn't the configured one, or that the server
// doesn't speak TLS. Further tries are useless then.
func isDistrust(err error) bool {
	var certificate *tls.CertificateVerificationError
	var alert tls.AlertError
	var noTLS tls.RecordHeaderError
	return errors.As(err, &certificate) || errors.As(err, &alert) || errors.As(err, &noTLS)
}

// Cisco's servers write #5.1.0.
var statusPattern = regexp.MustCompile(`(?m)^#?[245]\.\d{1,3}\.\d{1,3}\b`)

// statusIn returns the enhanced status code at the beginning of a line of an answer, or "".
func statusIn(message string) string {
	return strings.TrimPrefix(statusPattern.FindString(message), "#")
}

// Servers that send no enhanced status code say in words what 550 means: that there is no such
// mailbox (Exim: "Unrouteable address", "Unknown user"; Exchange: "User unknown"; OpenSMTPD:
// "Invalid recipient"), or that their policy refuses the mail (Exim: "relay not permitted",
// "Sender verify failed"; qmail: "that domain isn't in my list of allowed rcpthosts (#5.7.1)").
var (
	saysNoMailbox = regexp.MustCompile(`(?i)unrouteable|unknown|no such|invalid|not found|not exist|n[o']t a (valid|known)|no mailbox`)
	saysPolicy    = regexp.MustCompile(`(?i)relay|sender|client|host|authenticat|polic|spam|block|denied|permi(tted|ssion)|allowed|quota|full|5\.[2-7]\.`)
)

// refusal returns the class of an answer 5xx to RCPT TO. If the answer has an enhanced status code,
// the code decides: 5.1.x is about the address, and 5.2.1 says that the mailbox is disabled (RFC
// 3463, section 3; RFC 7505 adds 5.1.10). Without one, 550, 551 and 553 can mean the mailbox or the
// server's policy (RFC 5321, section 4.2.3), so the words decide. In doubt the class is Rejected:
// a bad address that isn't marked costs some refused mails, but a wrong mark keeps an owner
// uninformed.
func refusal(code int, status, words string) Class {
	switch status {
	case "5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.6", "5.1.10", "5.2.1":
		return BadAddress
	}
	switch {
	case status == "5.1.0" && !saysPolicy.MatchString(words): // with such words, it is about the sender's address (Postfix)
		return BadAddress
	case code == 530: // authentication required (RFC 4954, section 6)
		return Setup
	case status == "" && (code == 550 || code == 551 || code == 553) && saysNoMailbox.MatchString(words) && !saysPolicy.MatchString(words):
		return BadAddress
	}
	return Rejected
}

// printable returns one line of at most maxAnswer bytes without control characters and without
// characters that change the direction of text.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if len(text) > maxAnswer {
		text = strings.ToValidUTF8(text[:maxAnswer], "") + "…"
	}
	return strings.TrimSpace(text)
}
