package config

import (
	"strings"
	"testing"
	"time"
)

func TestMailServersAreParsed(t *testing.T) {
	for text, want := range map[string]MailServer{
		"smtps://user@mail.example.com:465":          {TLS: true, Host: "mail.example.com", Port: "465", User: "user"},
		"smtps://Mail.Example.com":                   {TLS: true, Host: "mail.example.com", Port: "465"},
		"smtp://ada@example.com@mail.example.com":    {Host: "mail.example.com", Port: "587", User: "ada@example.com"},
		"smtp://ada%40example.com@mail.example.com/": {Host: "mail.example.com", Port: "587", User: "ada@example.com"},
		"smtp://localhost:25":                        {Host: "localhost", Port: "25"},
		"smtps://[2001:db8::25]:465":                 {TLS: true, Host: "2001:db8::25", Port: "465"},
		"file:/tmp/mails":                            {Dir: "/tmp/mails"},
		"file:///tmp/mails":                          {Dir: "/tmp/mails"},
		"file:mails":                                 {Dir: "mails"},
		"":                                           {},
		"smtp://a%3Ab%20c@mail.example.com:2525":     {Host: "mail.example.com", Port: "2525", User: "a:b c"},
		"smtps://" + strings.Repeat("u", 60) + "@mail.example": {TLS: true, Host: "mail.example", Port: "465", User: strings.Repeat("u", 60)},
	} {
		var got, again MailServer
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("%s: printed as %s, which is %+v, %v", text, got, again, err)
		}
	}
}

// Without TLS, mails are sent only to this machine, and never with a password.
func TestOnlyMailsToThisMachineArePlain(t *testing.T) {
	for text, want := range map[string]bool{
		"smtp://localhost:25": true, "smtp://127.0.0.1:25": true, "smtp://[::1]:25": true,
		"smtp://user@localhost:25": false, "smtps://localhost": false, "smtp://mail.example.com": false, "smtp://10.0.0.1:25": false,
		"smtp://localhost.example.com": false,
	} {
		var m MailServer
		if err := m.UnmarshalText([]byte(text)); err != nil || m.Plain() != want {
			t.Errorf("%s: plain %v, %v; want %v", text, m.Plain(), err, want)
		}
	}
}

func TestFaultsOfMail(t *testing.T) {
	const from = "  from: a@example.com\n"
	for _, test := range []struct{ name, text, want string }{
		{"password", "mail:\n  url: smtps://user:hunter2@mail.example.com\n", "sallyport.yaml:2: mail.url: must not contain a password: write it to a file"},
		{"password with a slash", "mail:\n  url: smtps://user:hunter2/@mail.example.com\n", "sallyport.yaml:2: mail.url: isn't the URL of a mail server; write it like smtps://user@mail.example.com:465"},
		{"password with a number sign", "mail:\n  url: 'smtps://user:hunter2#x@mail.example.com'\n", "sallyport.yaml:2: mail.url: isn't the URL of a mail server"},
		{"no scheme", "mail:\n  url: mail.example.com:465\n", "sallyport.yaml:2: mail.url: must begin with smtps:// or smtp://"},
		{"other scheme", "mail:\n  url: https://mail.example.com\n", "sallyport.yaml:2: mail.url: must begin with smtps:// or smtp://"},
		{"no host", "mail:\n  url: smtps://:465\n", "sallyport.yaml:2: mail.url: isn't the URL of a mail server"},
		{"host with an underscore and a space", "mail:\n  url: smtps://mail server\n", "sallyport.yaml:2: mail.url: isn't the URL of a mail server"},
		{"path", "mail:\n  url: smtps://mail.example.com/inbox\n", "sallyport.yaml:2: mail.url: has something after the host and port"},
		{"query", "mail:\n  url: smtps://mail.example.com?tls=no\n", "sallyport.yaml:2: mail.url: has something after the host and port"},
		{"port", "mail:\n  url: smtps://mail.example.com:70000\n", "sallyport.yaml:2: mail.url: has a port outside 1 to 65535"},
		{"directory on a host", "mail:\n  url: file://nas/mails\n", "sallyport.yaml:2: mail.url: names a host; write file: and a directory"},
		{"no directory", "mail:\n  url: 'file:'\n", "sallyport.yaml:2: mail.url: must name a directory after file:"},

		{"no sender", "mail:\n  url: smtps://mail.example.com\n", `sallyport.yaml:2: mail.url: needs mail.from, the address that mails come from; write from: "Sallyport <noreply@example.com>"`},
		{"no password", "mail:\n  url: smtps://user@mail.example.com\n" + from, `sallyport.yaml:2: mail.url: names the user "user", but not where the password is`},
		{"no user", "mail:\n  url: smtps://mail.example.com\n  password_file: /p\n" + from, "sallyport.yaml:3: mail.password_file: is of no use without a user"},
		{"password of a directory", "mail:\n  url: file:/tmp\n  password_file: /p\n" + from, "sallyport.yaml:3: mail.password_file: is the password of a mail server, and mail.url names a directory"},
		{"CA of a directory", "mail:\n  url: file:/tmp\n  ca: /ca\n" + from, "sallyport.yaml:3: mail.ca: is the CA of a mail server, and mail.url names a directory"},
		{"CA without TLS", "mail:\n  url: smtp://localhost:25\n  ca: /ca\n" + from, "sallyport.yaml:3: mail.ca: has no effect, since mails to smtp://localhost:25 are sent without TLS"},
		{"a key without url", "mail:\n" + from, "sallyport.yaml:2: mail.from: has no effect until mail.url is set"},

		{"sender", "mail:\n  url: file:/tmp\n  from: Sallyport\n", `sallyport.yaml:3: mail.from: "Sallyport" isn't an email address; write it like "Sallyport <noreply@example.com>"`},
		{"two senders", "mail:\n  url: file:/tmp\n  from: a@example.com, b@example.com\n", `sallyport.yaml:3: mail.from: "a@example.com, b@example.com" isn't an email address`},
		{"line break", "mail:\n  url: file:/tmp\n  from: \"a@example.com\\r\\nBcc: b@example.com\"\n", "sallyport.yaml:3: mail.from: "},
		{"encoded line break", "mail:\n  url: file:/tmp\n  from: \"=?utf-8?q?a=0D=0Ab?= <a@example.com>\"\n", "sallyport.yaml:3: mail.from: the name before the address: "},
		{"right-to-left override", "mail:\n  url: file:/tmp\n  from: \"a\\u202eb <a@example.com>\"\n", "sallyport.yaml:3: mail.from: the name before the address: "},
		{"quoted local part", "mail:\n  url: file:/tmp\n  from: '\"a b\"@example.com'\n", "sallyport.yaml:3: mail.from: the address \"a b@example.com\" has characters"},
		{"domain in Unicode", "mail:\n  url: file:/tmp\n  from: a@exämple.com\n", "sallyport.yaml:3: mail.from: the address \"a@exämple.com\" has characters"},

		{"time zone", "site_time_zone: Berlin\n", `sallyport.yaml:1: site_time_zone: "Berlin" isn't a time zone; write a place`},
		{"no time zone", "site_time_zone: ''\n", `sallyport.yaml:1: site_time_zone: "" isn't a time zone`},
		{"the machine's time zone", "site_time_zone: Local\n", `sallyport.yaml:1: site_time_zone: "Local" isn't a time zone`},
		{"a path for a time zone", "site_time_zone: ../../etc/passwd\n", `sallyport.yaml:1: site_time_zone: "../../etc/passwd" isn't a time zone`},
	} {
		_, err := loadText(test.text)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s:\ngot  %v\nwant %s", test.name, err, test.want)
		}
	}
}

func TestSendersArePrintedAsInHeaders(t *testing.T) {
	for text, want := range map[string]MailAddress{
		"noreply@example.com":                        {Address: "noreply@example.com"},
		`"Sallyport <noreply@Example.com>"`:          {Name: "Sallyport", Address: "noreply@Example.com"},
		`"=?utf-8?q?Caf=C3=A9?= <cafe@example.com>"`: {Name: "Café", Address: "cafe@example.com"},
	} {
		c, err := loadText("mail:\n  url: file:/tmp\n  from: " + text + "\n")
		if err != nil || c.Mail.From != want {
			t.Errorf("%s: %+v, %v; want %+v", text, c.Mail.From, err, want)
			continue
		}
		var again MailAddress
		if err := again.UnmarshalText([]byte(c.Mail.From.String())); err != nil || again != want || again.Domain() != "example.com" {
			t.Errorf("%s is printed as %s, which is %+v, %v", text, c.Mail.From, again, err)
		}
	}
}

func TestTimeZonesHaveTheirRules(t *testing.T) {
	c, err := loadText("site_time_zone: Europe/Berlin\n")
	if err != nil {
		t.Fatal(err)
	}
	for summer, want := range map[bool]string{true: "14:00 CEST", false: "13:00 CET"} {
		month := time.January
		if summer {
			month = time.July
		}
		if got := time.Date(2026, month, 1, 12, 0, 0, 0, time.UTC).In(c.SiteTimeZone.Location()).Format("15:04 MST"); got != want {
			t.Errorf("noon UTC is %s, want %s", got, want)
		}
	}
	if TimeZone("").Location() != time.UTC {
		t.Error("the location without a zone isn't UTC, want UTC")
	}
}
