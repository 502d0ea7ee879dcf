package flows

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestFlows runs every script of this folder against a whole server, on both engines. Scripts have
// these commands beside those of package testscript:
//
//	account NAME              add an account with the password $PASSWORD; sets $NAME_ID
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
//	shown VARIABLE REGEXP     set VARIABLE to the text on the page that matches REGEXP
//	wrong-passwords NAME N    submit N wrong passwords, waiting as long as the portal demands
//	seal                      seal the unsealed events of the audit log
//	head VARIABLE             set VARIABLE to the head of the audit log that the log has last
//	cut-audit N               delete the audit events from the Nth on in the database
//	restart                   stop the server and start another on its database, with new browsers
//	link VARIABLE             set VARIABLE to the ticket of the last one-time link that was printed or answered to a form
//	mail ADDRESS VARIABLE     send what is due, and set VARIABLE to the ticket of the last mail with a link to ADDRESS
//	mails N ADDRESS SUBJECT   send what is due, and check how many mails with SUBJECT ADDRESS has got
//	pass VARIABLE             set VARIABLE to the last machine pass that was shown or printed
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
					"status": cmdStatus, "goes": cmdGoes, "see": cmdSee, "shown": cmdShown, "link": cmdLink, "mail": cmdMail, "mails": cmdMails, "pass": cmdPass, "script": cmdScript, "restart": cmdRestart,
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

func (f *flow) show(ts *testscript.TestScript) {
	ts.Logf("%d %s", f.browser.Last.Status, f.browser.Last.Location)
}
