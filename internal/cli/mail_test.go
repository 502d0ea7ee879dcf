package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/smtpd"
)

func TestMailTestPrintsTheDialogue(t *testing.T) {
	dir := t.TempDir()
	ca := testkit.NewCA(t)
	now := time.Now()
	cert, key := ca.IssueFor(dir, "mail", now.Add(-time.Hour), now.Add(time.Hour), "127.0.0.1")
	server := smtpd.Start(t, smtpd.Options{Certificate: smtpd.Pair(t, cert, key), User: "ada@example.com", Password: "hunter2 ö"})
	must(t, os.WriteFile(filepath.Join(dir, "ca.pem"), ca.PEM, 0o600))
	file := filepath.Join(dir, "sallyport.yaml")
	text := "public_url: https://auth.example.com\nsite_name: Harbour =?utf-8?q?x?=\nmail:\n  url: smtp://ada@example.com@127.0.0.1:" + server.Port +
		"\n  password_file: DIR/password\n  ca: DIR/ca.pem\n  from: Harbour <noreply@example.com>\n"
	must(t, os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600))

	must(t, os.WriteFile(filepath.Join(dir, "password"), []byte("hunter2 ö\n"), 0o600))
	code, out, errs := call(nil, "", "--config", file, "mail", "test", "bob@example.com")
	for _, want := range []string{"-> AUTH PLAIN ********\n", "-> RCPT TO:<bob@example.com>\n", "<- 250 ", "The mail server accepted the mail."} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q", want)
		}
	}
	if mails := server.Mails(); code != 0 || errs != "" || strings.Contains(out, "hunter2") || len(mails) != 1 || !mails[0].Accepted {
		t.Errorf("exit code %d, want 0, got mails %+v\n%s%s", code, mails, out, errs)
	}

	server.Answer(smtpd.Script{Rcpt: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}})
	code, out, errs = call(nil, "", "--config", file, "mail", "test", "bob@example.com")
	if code != exitFailed || !strings.Contains(out, "<- 550 5.1.1 no such user\n") || !strings.HasSuffix(errs, "Send to another address.\n") {
		t.Errorf("an address that is refused: exit code %d, want 1, got\n%s%s", code, out, errs)
	}

	must(t, os.WriteFile(filepath.Join(dir, "password"), []byte("hunter3"), 0o600))
	code, out, errs = call(nil, "", "--config", file, "mail", "test", "bob@example.com")
	if code != exitFailed || !strings.Contains(out, "<- 535 ") || !strings.Contains(errs, "check mail.url, mail.password_file") || strings.Contains(out+errs, "hunter") {
		t.Errorf("a wrong password: exit code %d, want 1, got\n%s%s", code, out, errs)
	}
	code, _, errs = call(nil, "", "--config", file, "mail", "test", "bob")
	if code != exitFailed || !strings.Contains(errs, `"bob" isn't an email address`) {
		t.Errorf("no address: exit code %d, want 1, got\n%s", code, errs)
	}
}

func TestMailTestNeedsMail(t *testing.T) {
	dir := t.TempDir()
	environ := []string{"SALLYPORT_DATA_DIR=" + dir}
	if code, out, errs := call(environ, "", "mail", "test", "bob@example.com"); code != exitUsage || out != "" || !strings.Contains(errs, "mail.url isn't set") {
		t.Errorf("exit code %d, want 2 and \"mail.url isn't set\", got\n%s%s", code, out, errs)
	}
	environ = append(environ, "SALLYPORT_MAIL_URL=file:"+dir+"/mails", "SALLYPORT_MAIL_FROM=noreply@example.com")
	code, out, errs := call(environ, "", "mail", "test", "bob@example.com")
	files, err := filepath.Glob(dir + "/mails/*.eml")
	if code != 0 || err != nil || len(files) != 1 || errs != "" || out != "The mail was written into "+dir+"/mails.\n" {
		t.Errorf("exit code %d, want 0, got files %v, %v\n%s%s", code, files, err, out, errs)
	}
}
