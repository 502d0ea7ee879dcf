package portal

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/throttle"
)

// WithMail are the settings of a portal that writes its mails into its data directory.
var WithMail = []string{"SALLYPORT_MAIL_URL=file:{dir}/mails", "SALLYPORT_MAIL_FROM=noreply@example.com"}

// Mail is a mail that a portal wrote into a directory.
type Mail struct {
	To, Subject string
	Text, HTML  string
	Raw         string
}

var mailedLink = regexp.MustCompile(`(https?://\S*?)(/[a-z-]+)\?ticket=([A-Za-z0-9_-]{20,})`)

// Link returns the origin, the path and the ticket of the link in the mail. They are empty if the
// mail has no link.
func (m Mail) Link() (origin, path, ticket string) {
	if found := mailedLink.FindStringSubmatch(m.Text); found != nil {
		return found[1], found[2], found[3]
	}
	return "", "", ""
}

// claimWait is how long [Mails] waits for mails that another run or another node has claimed. The
// wait has a limit, since a node that was killed never sends the mails that it had claimed.
const claimWait = 5 * time.Second

// Mails makes the portal send the mails that are due. It returns all mails that the portal has
// written so far, the oldest first.
func Mails(t testing.TB, p *Portal) []Mail {
	t.Helper()
	for start := time.Now(); time.Since(start) < claimWait; time.Sleep(time.Millisecond) {
		testkit.Check(t, p.Outbox.Run(context.Background()))
		p.Outbox.Wait()
		var waiting int
		testkit.Check(t, db.One(context.Background(), p.DB.Reader(), `SELECT count(*) FROM outbox WHERE kind = 'mail' AND (due_at <= $1 OR claimed_until > $1)`,
			[]any{db.At{Time: p.Clock.Now()}}, &waiting))
		if waiting == 0 {
			break
		}
	}
	files, err := filepath.Glob(filepath.Join(p.Config.Mail.URL.Dir, "*.eml"))
	testkit.Check(t, err)
	slices.Sort(files)
	var all []Mail
	for _, file := range files {
		text, err := os.ReadFile(file)
		testkit.Check(t, err)
		all = append(all, ReadMail(t, string(text)))
	}
	return all
}

// ReadMail reads the text of a mail.
func ReadMail(t testing.TB, raw string) Mail {
	t.Helper()
	parsed, err := netmail.ReadMessage(strings.NewReader(raw))
	testkit.Check(t, err)
	subject, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
	testkit.Check(t, err)
	m := Mail{To: parsed.Header.Get("To"), Subject: subject, Raw: raw}
	_, params, err := mime.ParseMediaType(parsed.Header.Get("Content-Type"))
	testkit.Check(t, err)
	parts := multipart.NewReader(parsed.Body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return m
		}
		testkit.Check(t, err)
		var body io.Reader = part
		if part.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
			body = quotedprintable.NewReader(part)
		}
		text, err := io.ReadAll(body)
		testkit.Check(t, err)
		if strings.HasPrefix(part.Header.Get("Content-Type"), "text/html") {
			m.HTML = string(text)
		} else {
			m.Text = strings.ReplaceAll(string(text), "\r\n", "\n")
		}
	}
}

// LastMail returns the newest mail to the address to that has a link. It fails the test if there is
// no such mail.
func LastMail(t testing.TB, p *Portal, to string) Mail {
	t.Helper()
	all := Mails(t, p)
	for _, m := range slices.Backward(all) {
		if _, _, ticket := m.Link(); m.To == to && ticket != "" {
			return m
		}
	}
	t.Fatalf("of %d mails none goes to %s and has a link, want one", len(all), to)
	return Mail{}
}

// VerifyEmail gives the account a confirmed email address and returns the address.
func VerifyEmail(t testing.TB, p *Portal, name string) string {
	t.Helper()
	ctx, by := context.Background(), manage.CommandLine()
	a, err := account.ByName(ctx, p.DB.Reader(), name)
	testkit.Check(t, err)
	a.Email = name + "@example.com"
	testkit.Check(t, p.Manage.Accounts.SetEmail(ctx, by, a, a.Email))
	testkit.Check(t, p.Manage.Accounts.VerifyEmail(ctx, by, a))
	return a.Email
}

// MailedReset gives the account a confirmed address, asks in the browser for a link to set a new
// password, and returns the ticket of the link that is mailed.
func MailedReset(t testing.TB, p *Portal, b *Browser, name string) string {
	t.Helper()
	to := VerifyEmail(t, p, name)
	b.Post("/forgot", "username", name)
	_, _, ticket := LastMail(t, p, to).Link()
	return ticket
}

// Shield uses up the tries that unknown browsers have in a day for the password of the account name.
// No account with this name need exist.
func Shield(t testing.TB, p *Portal, name string) {
	t.Helper()
	ctx := context.Background()
	a, err := account.ByName(ctx, p.DB.Reader(), name)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		t.Fatal(err)
	}
	key := throttle.Key{Account: p.Login.LedgerID(a, name), Bucket: throttle.PasswordUnknownDevice}
	for { // each try has a hundred units, since the ledger would delay many single tries
		_, verdict, err := p.Login.Ledger.Reserve(ctx, throttle.Try{Key: key, Units: 100})
		testkit.Check(t, err)
		if verdict.Answer == throttle.Shielded {
			return
		}
	}
}

// MailedUnlock makes an account shielded, asks in the browser to be let in to it, and returns the
// ticket of the link that is mailed to the account's confirmed address.
func MailedUnlock(t testing.TB, p *Portal, b *Browser, name string) string {
	t.Helper()
	if a, err := account.ByName(context.Background(), p.DB.Reader(), name); err != nil || !a.MayRecover() {
		VerifyEmail(t, p, name)
	}
	p.Clock.Move(time.Second) // so that this mail has a later time than the others
	Shield(t, p, name)
	b.Post("/unlock/ask", "username", name)
	_, _, ticket := LastMail(t, p, name+"@example.com").Link()
	return ticket
}

var unlockCode = regexp.MustCompile(`[0-9A-Z]{4}-[0-9A-Z]{4}`)

// UnlockCode opens the mailed link with this ticket in a browser that didn't ask for it, and returns
// the code that the page shows.
func UnlockCode(t testing.TB, b *Browser, ticket string) string {
	t.Helper()
	code := unlockCode.FindString(VisibleText(b.Get("/unlock?ticket=" + ticket).Body))
	if code == "" {
		t.Fatalf("the page of the link shows no code, want one: %s", Summary(b.Last))
	}
	return code
}

// MailedVerification asks in a signed-in browser for a link that confirms an address, and returns
// the link's ticket.
func MailedVerification(t testing.TB, p *Portal, b *Browser, address string) string {
	t.Helper()
	b.Post("/settings/profile/email", "email", address)
	_, _, ticket := LastMail(t, p, address).Link()
	return ticket
}

// ChangeEmail changes the email address of the account that is signed in in the browser.
func ChangeEmail(t testing.TB, p *Portal, b *Browser, address string) {
	t.Helper()
	if a := b.Post("/settings/profile/email/confirm", "ticket", MailedVerification(t, p, b, address)); a.Location != "/settings/profile?notice=email_confirmed" {
		t.Fatalf("change the address: %s, want the notice email_confirmed", Summary(a))
	}
}
