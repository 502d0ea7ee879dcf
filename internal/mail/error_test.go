package mail

import (
	"encoding/base64"
	"errors"
	"fmt"
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
			t.Errorf("%s: the error is %q", name, text)
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
			t.Errorf("%s: %v", name, err)
		}
		if text := err.Error(); strings.Contains(text, password) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(password))) {
			t.Errorf("%s: the error shows the password: %s", name, text)
		}
		checkNothingInClear(t, server)
	}
}
