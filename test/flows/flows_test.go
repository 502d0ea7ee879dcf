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
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/cli"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestFlows runs every script of this folder against a whole server, on both engines. Scripts have
// these commands beside those of package testscript:
//
//	account NAME              add an account with the password $PASSWORD
//	sallyport ARG...          run the command line on the server's files; the file stdin is its input
//	browser NAME              use this browser from now on; create it if it doesn't exist
//	get PATH                  request a page
//	post PATH FIELD=VALUE...  submit a form
//	send METHOD URL HEADER=VALUE...  send any request
//	follow                    follow redirects to a page
//	header TEXT               check that the answer has this header line
//	sign-in NAME              submit NAME and $PASSWORD to /login
//	wizard PHONE              open the wizard and read its secret; sets $PHONE_ID
//	enroll PHONE              enroll the phone; sets $PHONE_ID, and $PHONE_1 to $PHONE_10 to backup codes
//	saved                     press Done on the page of new backup codes
//	code PHONE [OFFSET]       set $CODE to the code that the phone shows if its clock is off by OFFSET
//	clock DURATION            let this time pass
//	set-clock DURATION        set the clock ahead, or back if DURATION is negative
//	tick                      let the server check its clock, as it does every 10 s
//	status N                  check the answer's status
//	goes PATH                 check that the answer redirects to PATH with 303
//	see TEXT, ! see TEXT      check that the page's text contains TEXT, or doesn't
//	wrong-passwords NAME N    submit N wrong passwords, waiting as long as the portal demands
//	seal                      seal the unsealed events of the audit log
//	head VARIABLE             set it to the head of the audit log that was logged last
//	cut-audit N               delete the audit events from the Nth on in the database
//	restart                   stop the server and start another on its database, with new browsers
//	link VARIABLE             set it to the ticket of the one-time link that was printed last
//	mail ADDRESS VARIABLE     send what is due, and set VARIABLE to the ticket of the last mail with a link to ADDRESS
//	mails N ADDRESS SUBJECT   send what is due, and check how many mails with SUBJECT ADDRESS has got
//	pass VARIABLE             set it to the machine pass that was shown or printed last
//	script METHOD URL PASS    send a request to a panel with a machine pass
func TestFlows(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			testscript.Run(t, testscript.Params{
				Dir:       ".",
				Condition: func(name string) (bool, error) { return name == engine, nil }, // [sqlite], [postgres]
				Setup:     func(env *testscript.Env) error { return setUp(env, t, engine) },
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"account": cmdAccount, "sallyport": cmdSallyport, "browser": cmdBrowser, "get": cmdGet, "post": cmdPost,
					"sign-in": cmdSignIn, "wizard": cmdWizard, "enroll": cmdEnroll, "saved": cmdSaved, "code": cmdCode, "clock": cmdClock, "set-clock": cmdSetClock, "tick": cmdTick,
					"status": cmdStatus, "goes": cmdGoes, "see": cmdSee, "link": cmdLink, "mail": cmdMail, "mails": cmdMails, "pass": cmdPass, "script": cmdScript, "restart": cmdRestart,
					"wrong-passwords": cmdWrongPasswords, "send": cmdSend, "header": cmdHeader, "follow": cmdFollow,
					"seal": cmdSeal, "head": cmdHead, "cut-audit": cmdCutAudit,
				},
			})
		})
	}
}

// flow is the state of a script.
type flow struct {
	portal   *portal.Portal
	environ  []string
	browsers map[string]*portal.Browser
	browser  *portal.Browser
	phones   map[string]*portal.Phone
	out      string // output of the last sallyport command
	script   *script
	env      envTB
	settings []string
}

// script is a [testing.TB] for browsers that ends the script, not the whole test, when a browser
// fails.
type script struct {
	testing.TB
	running *testscript.TestScript
}

func (s *script) Helper() {}

func (s *script) Fatal(args ...any) { s.running.Fatalf("%s", fmt.Sprint(args...)) }

func (s *script) Fatalf(format string, args ...any) { s.running.Fatalf(format, args...) }

func setUp(env *testscript.Env, t *testing.T, engine string) error {
	settings := []string{"SALLYPORT_PASSWORD_MEMORY_KIB=19456"}
	if text, err := os.ReadFile(env.WorkDir + "/settings"); err == nil {
		settings = append(settings, strings.Fields(strings.ReplaceAll(string(text), "$WORK", env.WorkDir))...)
	}
	f := &flow{settings: settings, phones: map[string]*portal.Phone{}, script: &script{TB: t}, env: envTB{t, env}}
	f.serve(portal.Start(f.env, engine, settings...))
	env.Setenv("PASSWORD", portal.Password)
	env.Setenv("BASE", f.portal.Base)
	env.Values["flow"] = f
	return nil
}

// serve lets the script continue with this server and new browsers.
func (f *flow) serve(p *portal.Portal) {
	f.portal, f.browsers = p, map[string]*portal.Browser{}
	f.environ = append([]string{"SALLYPORT_DATA_DIR=" + p.Dir, "SALLYPORT_PUBLIC_URL=" + p.Base, portal.NoConfig}, f.settings...)
	if url := p.Config.Database.Reveal(); url != "" {
		f.environ = append(f.environ, "SALLYPORT_DATABASE="+url)
	}
	f.browser = p.Browser(f.script)
	f.browsers["first"] = f.browser
}

// envTB is a [testing.TB] whose cleanups run at the end of its script, not of the whole test.
type envTB struct {
	*testing.T
	env *testscript.Env
}

func (e envTB) Cleanup(f func()) { e.env.Defer(f) }

func (e envTB) TempDir() string { return mkdir(e.T, e.env.WorkDir) }

func mkdir(t *testing.T, in string) string {
	dir, err := os.MkdirTemp(in, "data")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// flowOf returns the state of a running script.
func flowOf(ts *testscript.TestScript) *flow {
	f := ts.Value("flow").(*flow)
	f.script.running = ts
	return f
}

// checkUse ends the script if a command is negated or has fewer arguments than least.
func checkUse(ts *testscript.TestScript, neg bool, args []string, least int) {
	if neg || len(args) < least {
		ts.Fatalf("wrong use of the command; see TestFlows")
	}
}

func cmdAccount(ts *testscript.TestScript, neg bool, args []string) {
	checkUse(ts, neg, args, 1)
	_, err := flowOf(ts).portal.Manage.Accounts.Add(context.Background(), manage.CommandLine(), account.Account{Name: args[0]}, portal.Password)
	ts.Check(err)
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

func (f *flow) show(ts *testscript.TestScript) {
	ts.Logf("%d %s", f.browser.Last.Status, f.browser.Last.Location)
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

var ticketLink = regexp.MustCompile(`http\S+(/setup\?ticket=(\S+))`)

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
