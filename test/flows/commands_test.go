package flows

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/cli"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// checkUse ends the script if a command is negated or has fewer arguments than least.
func checkUse(ts *testscript.TestScript, neg bool, args []string, least int) {
	if neg || len(args) < least {
		ts.Fatalf("wrong use of the command; see TestFlows")
	}
}

func cmdAccount(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	added, err := flowOf(ts).portal.Manage.Accounts.Add(context.Background(), manage.CommandLine(), account.Account{Name: args[0]}, portal.Password)
	ts.Check(err)
	ts.Setenv(args[0]+"_ID", added.ID)
}

func cmdSallyport(ts *testscript.TestScript, neg bool, args []string) {
	f := flowOf(ts)
	var in []byte
	if text, err := os.ReadFile(ts.MkAbs("stdin")); err == nil {
		in = text
	}
	var out, errs bytes.Buffer
	status := cli.Main(args, cli.Streams{In: bytes.NewReader(in), Out: &out, Err: &errs}, f.environ)
	fmt.Fprint(ts.Stdout(), out.String())
	fmt.Fprint(ts.Stderr(), errs.String())
	f.out = out.String() + errs.String()
	if neg == (status == 0) {
		ts.Fatalf("sallyport %s: unexpected status %d\n%s%s", strings.Join(args, " "), status, out.String(), errs.String())
	}
}

func cmdBrowser(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	f := flowOf(ts)
	if f.browsers[args[0]] == nil {
		f.browsers[args[0]] = f.portal.Browser(f.script)
	}
	f.browser = f.browsers[args[0]]
}

func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	f := flowOf(ts)
	f.browser.Get(args[0])
	f.show(ts)
}

func cmdPost(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	f := flowOf(ts)
	var fields []string
	for _, arg := range args[1:] {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			ts.Fatalf("%q is not FIELD=VALUE", arg)
		}
		fields = append(fields, name, value)
	}
	f.browser.Post(args[0], fields...)
	if ticketLink.MatchString(f.browser.Last.Body) {
		f.out = f.browser.Last.Body // where the command link looks for a link
	}
	f.show(ts)
}

func cmdSend(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 2)
	f := flowOf(ts)
	header := http.Header{}
	for _, arg := range args[2:] {
		name, value, _ := strings.Cut(arg, "=")
		header.Add(name, value)
	}
	f.browser.Do(args[0], args[1], nil, header)
	f.show(ts)
}

func cmdFollow(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 0)
	flowOf(ts).browser.Follow()
	flowOf(ts).show(ts)
}

func cmdHeader(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	name, want, _ := strings.Cut(args[0], ": ")
	if got := flowOf(ts).browser.Last.Header.Values(name); !slices.Contains(got, want) {
		ts.Fatalf("%s is %q, want %q", name, got, want)
	}
}

func cmdSignIn(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	f := flowOf(ts)
	f.browser.Post("/login", "username", args[0], "password", portal.Password)
	f.show(ts)
}

func cmdWizard(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	f := flowOf(ts)
	f.phones[args[0]] = f.browser.BeginEnroll()
	ts.Setenv(args[0]+"_ID", f.phones[args[0]].ID)
}

func cmdEnroll(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	f := flowOf(ts)
	phone := f.browser.Enroll(args[0])
	f.phones[args[0]] = phone
	ts.Setenv(args[0]+"_ID", phone.ID)
	for i, code := range phone.Codes {
		ts.Setenv(args[0]+"_"+strconv.Itoa(i+1), code)
	}
}

var savedAction = regexp.MustCompile(`action="([^"]*/backup-codes/[^/"]+/saved)"`)

func cmdSaved(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 0)
	f := flowOf(ts)
	action := savedAction.FindStringSubmatch(f.browser.Last.Body)
	if action == nil {
		ts.Fatalf("the page has no form that confirms backup codes")
	}
	f.browser.Post(action[1])
	f.show(ts)
}

func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	f := flowOf(ts)
	var off time.Duration
	if len(args) > 1 {
		var err error
		off, err = time.ParseDuration(args[1])
		ts.Check(err)
	}
	phone := f.phones[args[0]]
	if phone == nil {
		ts.Fatalf("the script has no phone %s", args[0])
	}
	ts.Setenv("CODE", phone.Code(off))
}

func cmdClock(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	flowOf(ts).portal.Clock.Move(d)
}

func cmdSetClock(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	flowOf(ts).portal.Clock.Set(d)
}

func cmdTick(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 0)
	ts.Check(flowOf(ts).portal.WatchClock(context.Background()))
}

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	if got := strconv.Itoa(flowOf(ts).browser.Last.Status); got != args[0] {
		ts.Fatalf("status %s, want %s\n%s", got, args[0], text(flowOf(ts).browser.Last.Body))
	}
}

func cmdGoes(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	last := flowOf(ts).browser.Last
	if last.Location != args[0] || last.Status != 303 {
		ts.Fatalf("%d to %q, want 303 to %q\n%s", last.Status, last.Location, args[0], text(last.Body))
	}
}

var markup = regexp.MustCompile(`(?s)<(script|style|svg).*?</(script|style|svg)>|<[^>]*>`)

// text returns the text of a page that a browser shows, with single spaces.
func text(page string) string {
	return strings.Join(strings.Fields(html.UnescapeString(markup.ReplaceAllString(page, " "))), " ")
}

func cmdSee(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("see takes one text")
	}
	page := text(flowOf(ts).browser.Last.Body)
	if strings.Contains(page, args[0]) == neg {
		ts.Fatalf("the page contains %q: %v, want %v\n%s", args[0], neg, !neg, page)
	}
}

func cmdShown(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 2)
	page := text(flowOf(ts).browser.Last.Body)
	found := regexp.MustCompile(args[1]).FindString(page)
	if found == "" {
		ts.Fatalf("the page has no text that matches %s\n%s", args[1], page)
	}
	ts.Setenv(args[0], found)
}

var ticketLink = regexp.MustCompile(`http\S+(/setup\?ticket=([^\s"<]+))`)

func cmdLink(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	found := ticketLink.FindStringSubmatch(flowOf(ts).out)
	if found == nil {
		ts.Fatalf("the last sallyport command printed no link")
	}
	ts.Setenv(args[0], found[2])
}

func cmdMail(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 2)
	f := flowOf(ts)
	mail := portal.LastMail(f.script, f.portal, args[0])
	ts.Logf("%s", mail.Text)
	_, _, ticket := mail.Link()
	ts.Setenv(args[1], ticket)
}

func cmdMails(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 3)
	f := flowOf(ts)
	n := 0
	var subjects []string
	for _, mail := range portal.Mails(f.script, f.portal) {
		if mail.To != args[1] {
			continue
		}
		subjects = append(subjects, mail.Subject)
		if mail.Subject == args[2] {
			n++
		}
	}
	if strconv.Itoa(n) != args[0] {
		ts.Fatalf("%s has got %d mails, want %s: %q", args[1], n, args[0], subjects)
	}
}

func cmdPass(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	f := flowOf(ts)
	token := panels.ShownPass.FindString(f.browser.Last.Body)
	if printed := panels.ShownPass.FindString(f.out); printed != "" {
		token = printed
	}
	f.out = ""
	if token == "" {
		ts.Fatalf("no page showed, and no command printed, a machine pass")
	}
	ts.Setenv(args[0], token)
}

func cmdScript(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 3)
	f := flowOf(ts)
	b := f.portal.Browser(f.script)
	f.browser.Last = b.Do(args[0], args[1], nil, panels.AsHeader(args[2]))
	f.show(ts)
}

func cmdRestart(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 0)
	f := flowOf(ts)
	f.portal.Stop()
	settings := f.settings
	if url := f.portal.Config.Database.Reveal(); url != "" {
		settings = append([]string{"SALLYPORT_DATABASE=" + url}, settings...)
	}
	f.serve(portal.StartIn(f.env, f.portal.Dir, f.portal.Clock, settings...))
}

func cmdSeal(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 0)
	ts.Check(flowOf(ts).portal.Seal(context.Background()))
}

var loggedHead = regexp.MustCompile(`"audit sealed".*"head":"([^"]+)"`)

func cmdHead(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	found := loggedHead.FindAllStringSubmatch(flowOf(ts).portal.Logs.String(), -1)
	if found == nil {
		ts.Fatalf("the log has no head of the audit log")
	}
	ts.Setenv(args[0], found[len(found)-1][1])
}

func cmdCutAudit(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	first, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(flowOf(ts).portal.DB.Write(context.Background(), func(tx *db.Tx) error {
		_, err := db.Exec(context.Background(), tx, `DELETE FROM events WHERE seq >= $1`, first)
		return err
	}))
}

func cmdWrongPasswords(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 2)
	f := flowOf(ts)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for i := 0; i < n; {
		switch f.browser.Post("/login", "username", args[0], "password", "wrong").Status {
		case 422:
			i++
		case 429:
			wait, err := strconv.Atoi(f.browser.Last.Header.Get("Retry-After"))
			ts.Check(err)
			f.portal.Clock.Move(time.Duration(wait) * time.Second)
		default:
			f.show(ts)
			ts.Fatalf("wrong password %d of %d: unexpected answer", i+1, n)
		}
	}
}
