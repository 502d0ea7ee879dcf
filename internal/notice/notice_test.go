package notice

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/audit"
)

var start = time.UnixMilli(1_795_000_000_123).UTC()

func TestWhichEventsHaveNotices(t *testing.T) {
	event := func(kind audit.Kind, actor string) audit.Event {
		return audit.Event{ID: "e", At: start, AccountID: "ada", Actor: actor, Kind: kind, Detail: "phone", Number: 3, Address: "192.0.2.1", Browser: "Firefox", Reason: "asked"}
	}
	refused := event(audit.PasswordChanged, audit.ByOwner)
	refused.Outcome = audit.Refused
	ofNobody := event(audit.PasswordSet, audit.ByOperator)
	ofNobody.AccountID = ""
	for name, test := range map[string]struct {
		event audit.Event
		facts Facts
		want  Kind
	}{
		"sign-in":                       {event: event(audit.SignedIn, audit.ByOwner)},
		"sign-in from a new browser":    {event: event(audit.SignedIn, audit.ByOwner), facts: Facts{NewBrowser: true}, want: NewBrowser},
		"session that the owner ended":  {event: event(audit.SessionEnded, audit.ByOwner)},
		"session of an operator's word": {event: event(audit.SessionEnded, audit.ByOperator), want: SessionsRevoked},
		"all sessions by an operator":   {event: event(audit.SessionsEnded, audit.ByOperator), want: SessionsRevoked},
		"password":                      {event: event(audit.PasswordChanged, audit.ByOwner), want: PasswordChanged},
		"authenticator":                 {event: event(audit.AuthenticatorRemoved, audit.ByOwner), want: AuthenticatorRemoved},
		"a refused change":              {event: refused},
		"an event of no account":        {event: ofNobody},
		"a wrong code":                  {event: event(audit.CodeFailed, audit.ByOwner)},
		"many wrong codes":              {event: event(audit.WrongCodesNoticed, audit.ByOwner), want: WrongCodes},
		"a key rotation":                {event: event(audit.KeyRotated, audit.ByOperator)},
	} {
		got, ok := Of(test.event, test.facts)
		if got.Kind != test.want || ok != (test.want != "") {
			t.Errorf("notice of %s: %q, reported: %v; want %q", name, got.Kind, ok, test.want)
		}
	}
	got, _ := Of(event(audit.AuthenticatorAdded, audit.ByOwner), Facts{})
	want := Notice{Kind: AuthenticatorAdded, Event: "e", Account: "ada", At: start, By: audit.ByOwner, Address: "192.0.2.1", Browser: "Firefox", Name: "phone", Number: 3, Reason: "asked"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got, _ := Of(event(audit.SignedIn, audit.ByOwner), Facts{NewBrowser: true}); got.Name != "" {
		t.Errorf("a sign-in is named %q, which is a word of the audit log, want no name", got.Name)
	}
}

// Every kind is reported by some event, and every event's notice has a kind that is listed.
func TestEveryKindIsReported(t *testing.T) {
	seen := map[Kind]bool{}
	for _, kind := range reported {
		seen[kind] = true
	}
	for _, kind := range Kinds() {
		if !seen[kind] {
			t.Errorf("no event has the notice %s", kind)
		}
		delete(seen, kind)
	}
	for kind := range seen {
		t.Errorf("Kinds() lacks %s, which an event has", kind)
	}
}

func TestNoticesReadBack(t *testing.T) {
	want := Notice{
		Kind: WrongCodes, Event: "e", Account: "ada", At: start, By: audit.ByOwner, Address: "2001:db8::1", Browser: "Firefox \"1\"",
		Name: "phone", Number: 7, Reason: "a\nb", Former: true, Token: "secret",
	}
	got, err := Decode(want.Encode())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v; -want +got:\n%s", err, diff)
	}
}

func TestNoticesOfNewerVersionsAreLeftToThem(t *testing.T) {
	for text, unknown := range map[string]bool{
		`{"kind":"passkey_added","at":1}`:                true,
		`{"kind":"pass_made","at":1,"passkey":"x"}`:      true,
		`{"kind":"pass_made","at":"yesterday"}`:          false,
		`{"kind":"pass_made","at":1}{"kind":"pass_made"`: false,
		``: false,
	} {
		if _, err := Decode([]byte(text)); err == nil || errors.Is(err, ErrUnknown) != unknown {
			t.Errorf("Decode(%s): %v; want an error that wraps ErrUnknown: %v", text, err, unknown)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Notice{Kind: PassMade, At: start, Name: "backup"}.Encode())
	f.Add([]byte(`{"kind":"pass_made","at":1,"x":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := Decode(text)
		if err != nil {
			return
		}
		again, err := Decode(n.Encode())
		if err != nil || !bytes.Equal(n.Encode(), again.Encode()) {
			t.Errorf("%+v is read back as %+v, %v; want it unchanged", n, again, err)
		}
	})
}
