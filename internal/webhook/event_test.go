package webhook

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/notice"
)

func TestBodies(t *testing.T) {
	at := time.UnixMilli(1_795_000_000_120)
	for name, test := range map[string]struct{ got, want string }{
		"an owner's act": {
			string(Body(notice.Notice{Kind: notice.AuthenticatorAdded, Event: "e1", Account: "a1", At: at, By: "owner", Address: "192.0.2.1", Browser: `Fire"fox`, Name: "<phone>"}, "ada")),
			`{"type":"authenticator_added","timestamp":"2026-11-18T11:06:40.120Z","data":{"account":"a1","username":"ada","event":"e1","by":"owner","address":"192.0.2.1","browser":"Fire\"fox","name":"\u003cphone\u003e"}}`,
		},
		"an operator's, of an account that is gone": {
			string(Body(notice.Notice{Kind: notice.PasswordSet, Event: "e1", Account: "a1", At: at, By: "command line", Number: 3, Reason: "lost", Token: "secret"}, "")),
			`{"type":"password_set","timestamp":"2026-11-18T11:06:40.120Z","data":{"account":"a1","event":"e1","by":"command line","reason":"lost"}}`,
		},
		"the last backup code": {
			string(Body(notice.Notice{Kind: notice.BackupCodeUsed, Event: "e1", Account: "a1", At: at, By: "owner"}, "ada")),
			`{"type":"backup_code_used","timestamp":"2026-11-18T11:06:40.120Z","data":{"account":"a1","username":"ada","event":"e1","by":"owner","number":0}}`,
		},
		"a test": {string(TestBody("e1", at)), `{"type":"test","timestamp":"2026-11-18T11:06:40.120Z","data":{"event":"e1"}}`},
	} {
		if test.got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, test.got, test.want)
		}
	}
}
