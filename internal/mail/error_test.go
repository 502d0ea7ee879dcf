package mail

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/textproto"
	"strconv"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/smtpd"
)

// answer returns an answer with an enhanced status code, such as 5.1.1, or without one.
func answer(code int, status, text string) *smtp.SMTPError {
	e := &smtp.SMTPError{Code: code, EnhancedCode: smtp.NoEnhancedCode, Message: text}
	if status != "" {
		fmt.Sscanf(status, "%d.%d.%d", &e.EnhancedCode[0], &e.EnhancedCode[1], &e.EnhancedCode[2])
	}
	return e
}

func TestErrorsAreClassified(t *testing.T) {
	server := smtpd.Start(t, smtpd.Options{})
	m := mailerTo(server, nil)
	m.User, m.Plain = "", true
	for name, test := range map[string]struct {
		script smtpd.Script
		want   Class
		code   int
		status string
	}{
		"greylisting":                   {smtpd.Script{Rcpt: answer(451, "4.7.7", "greylisted")}, Temporary, 451, "4.7.7"},
		"mailbox busy":                  {smtpd.Script{Rcpt: answer(450, "", "busy")}, Temporary, 450, ""},
		"too many mails":                {smtpd.Script{Mail: answer(421, "4.7.7", "slow down")}, Temporary, 421, "4.7.7"},
		"disk full":                     {smtpd.Script{Data: answer(452, "4.3.3", "full")}, Temporary, 452, "4.3.3"},
		"no such user":                  {smtpd.Script{Rcpt: answer(550, "5.1.1", "no such user")}, BadAddress, 550, "5.1.1"},
		"no such user, without status":  {smtpd.Script{Rcpt: answer(550, "", "no such user")}, BadAddress, 550, ""},
		"relaying, without status":      {smtpd.Script{Rcpt: answer(550, "", "relay not permitted")}, Rejected, 550, ""},
		"no such domain":                {smtpd.Script{Rcpt: answer(550, "5.1.2", "no such domain")}, BadAddress, 550, "5.1.2"},
		"mailbox disabled":              {smtpd.Script{Rcpt: answer(550, "5.2.1", "disabled")}, BadAddress, 550, "5.2.1"},
		"mailbox full":                  {smtpd.Script{Rcpt: answer(552, "5.2.2", "full")}, Rejected, 552, "5.2.2"},
		"relaying denied":               {smtpd.Script{Rcpt: answer(554, "5.7.1", "relaying denied")}, Rejected, 554, "5.7.1"},
		"AUTH required":                 {smtpd.Script{Rcpt: answer(530, "5.7.0", "authenticate")}, Setup, 530, "5.7.0"},
		"sender refused":                {smtpd.Script{Mail: answer(550, "5.7.1", "not your address")}, Setup, 550, "5.7.1"},
		"sender's address, at RCPT":     {smtpd.Script{Rcpt: answer(553, "5.1.8", "bad sender")}, Rejected, 553, "5.1.8"},
		"content refused":               {smtpd.Script{Data: answer(554, "5.7.1", "spam")}, Rejected, 554, "5.7.1"},
		"ended in place of the answer":  {smtpd.Script{Drop: true}, Unanswered, 0, ""},
		"an answer with control bytes":  {smtpd.Script{Rcpt: answer(550, "5.1.1", "\x1b[2J\u202ecba")}, BadAddress, 550, "5.1.1"},
		"an answer with several lines":  {smtpd.Script{Rcpt: answer(550, "5.1.1", "no\nsuch\nuser")}, BadAddress, 550, "5.1.1"},
		"an answer of a thousand bytes": {smtpd.Script{Rcpt: answer(550, "5.1.1", strings.Repeat("no ", 300))}, BadAddress, 550, "5.1.1"},
	} {
		server.Answer(test.script)
		err := m.Send(t.Context(), message())
		var failed *Error
		if !errors.As(err, &failed) || failed.Class != test.want || failed.Code != test.code || failed.Status != test.status {
			t.Errorf("%s: %#v, want class %v", name, err, test.want)
			continue
		}
		if text := failed.Error(); strings.ContainsAny(text, "\x1b\n\u202e") || len(text) > maxAnswer+100 {
			t.Errorf("%s: the error is %q, want it cleaned and cut", name, text)
		}
	}
}

func TestServersThatRefuseTheUserAreASetupFault(t *testing.T) {
	ca := testkit.NewCA(t)
	certificate := smtpd.Certificate(t, ca, "127.0.0.1")
	for name, test := range map[string]struct {
		mechanisms []string
		want       int
	}{
		"PLAIN": {[]string{"PLAIN"}, 535}, "LOGIN": {[]string{"LOGIN"}, 535}, "neither": {[]string{"CRAM-MD5"}, 0},
	} {
		server := smtpd.Start(t, smtpd.Options{Certificate: certificate, User: user, Password: "another", Mechanisms: test.mechanisms})
		err := mailerTo(server, ca).Send(t.Context(), message())
		var failed *Error
		if !errors.As(err, &failed) || failed.Class != Setup || failed.Code != test.want {
			t.Errorf("%s: %v; want class %v and code %d", name, err, Setup, test.want)
		}
		if text := err.Error(); strings.Contains(text, password) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(password))) {
			t.Errorf("%s: the error shows the password: %s", name, text)
		}
		checkNothingInClear(t, server)
	}
}

// TestWhatServersSayOfAnAddress has answers to RCPT TO as servers and providers send them.
func TestWhatServersSayOfAnAddress(t *testing.T) {
	for answer, want := range map[string]Class{
		"550 5.1.1 <x@example.com>: Recipient address rejected: User unknown in local recipient table":        BadAddress, // Postfix
		"550-5.1.1 The email account that you tried to reach does not exist. Please try":                      BadAddress, // Gmail
		"550 5.1.2 <x@nowhere.example>: Recipient address rejected: Domain not found":                         BadAddress, // Postfix
		"550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient x@example.com not found by SMTP address lookup": BadAddress, // Exchange
		"553 5.1.3 <x@example.com>... User address required":                                                  BadAddress, // sendmail
		"550 5.2.1 The email account that you tried to reach is disabled.":                                    BadAddress, // Gmail
		"550 #5.1.0 Address rejected.":                                                                    BadAddress, // Cisco
		"550 5.1.0 Requested action not taken: mailbox unavailable":                                       BadAddress, // mailpit
		"550 5.1.0 <noreply@example.com>: Sender address rejected: User unknown in local recipient table": Rejected,   // Postfix
		"550 Unrouteable address":                                                                         BadAddress, // Exim
		"550 Unknown user":                                                                                BadAddress, // Exim
		"550 Invalid recipient: <x@example.com>":                                                          BadAddress, // OpenSMTPD
		"550 No such user here":                                                                           BadAddress, // cPanel
		"550 Requested action not taken: mailbox unavailable":                                             Rejected,   // words of RFC 5321, for policy too
		"551 User does not exist":                                                                         BadAddress,
		"550 relay not permitted":                                                                         Rejected, // Exim
		"550-Verification failed for <noreply@example.com> 550-Unrouteable address 550 Sender verify failed": Rejected, // Exim, about the sender
		"550 Administrative prohibition": Rejected, // Exim
		"550 authenticate first":         Rejected, // Exim
		"553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)": Rejected, // qmail
		"550 5.7.1 Unable to relay":                      Rejected, // Exchange
		"554 5.7.1 <x@example.com>: Relay access denied": Rejected, // Postfix
		"550 5.7.1 Our system has detected that this message is likely unsolicited mail; unknown sender": Rejected, // Gmail
		"550 5.4.1 Recipient address rejected: Access denied. AS(201806281)":                             Rejected, // Exchange Online: a policy, or no such user
		"552 5.2.2 The email account that you tried to reach is over quota":                              Rejected, // Gmail
		"550 Mailbox full, unknown when there will be room":                                              Rejected,
		"550 Client host [192.0.2.1] blocked using dnsbl.example.com; unknown reputation":                Rejected,
		"553 5.1.8 <noreply@example.com>... Domain of sender address does not exist":                     Rejected, // sendmail
		"554 No such user": Rejected,
		"530 5.7.0 Must issue a STARTTLS command first": Setup,
		"530 Authentication required":                   Setup,
	} {
		code, err := strconv.Atoi(answer[:3])
		testkit.Check(t, err)
		e := failure("RCPT TO", &textproto.Error{Code: code, Msg: answer[4:]}, Rejected)
		if got := refusal(e.Code, e.Status, e.words); got != want {
			t.Errorf("%q: class %v, want %v", answer, got, want)
		}
	}
}

// FuzzRefusal checks that an answer about policy, or about a full mailbox, is never taken for one
// about the address, whatever its words.
func FuzzRefusal(f *testing.F) {
	f.Add(550, "5.7.1", "no such user")
	f.Add(550, "", "Unknown user\n5.7.1 spam")
	f.Fuzz(func(t *testing.T, code int, status, words string) {
		class := refusal(code, status, words)
		isPolicy := strings.HasPrefix(status, "5.7.") || status == "5.2.2" || status == "" && strings.Contains(words, "5.7.")
		if isPolicy && class == BadAddress {
			t.Errorf("the answer %d %q %q has the class BadAddress, want another", code, status, words)
		}
		statusIn(words)
	})
}
