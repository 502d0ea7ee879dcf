package config

import (
	"strings"
	"testing"
)

func TestURLsOfWebhooks(t *testing.T) {
	for text, want := range map[string]struct{ url, shown string }{
		"https://hooks.example.com":                 {"https://hooks.example.com", "https://hooks.example.com"},
		"https://Hooks.Example.com:443/":            {"https://hooks.example.com", "https://hooks.example.com"},
		"https://hooks.example.com/a/b%2Fc?d=%20&e": {"https://hooks.example.com/a/b%2Fc?d=%20&e", "https://hooks.example.com/[redacted]"},
		"https://hooks.example.com?token=x":         {"https://hooks.example.com?token=x", "https://hooks.example.com/[redacted]"},
		"https://hooks.example.com//a":              {"https://hooks.example.com//a", "https://hooks.example.com/[redacted]"},
		"http://[2001:db8::1]:8080/":                {"http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080"},
	} {
		var w WebhookURL
		if err := w.UnmarshalText([]byte(text)); err != nil || w.URL().String() != want.url || w.String() != want.shown {
			t.Errorf("%s: %v, shown as %s, %v; want %+v", text, w.URL(), w, err, want)
		}
	}
}

func TestFaultsOfTheWebhook(t *testing.T) {
	const file = "  secret_file: /s\n"
	for _, test := range []struct{ name, text, want string }{
		{"password", "webhook:\n  url: https://a:hunter2@hooks.example.com\n", "sallyport.yaml:2: webhook.url: must not contain a user name or password"},
		{"password with a slash", "webhook:\n  url: https://a:hunter2/@hooks.example.com\n", "sallyport.yaml:2: webhook.url: must not contain a user name or password"},
		{"no scheme", "webhook:\n  url: hooks.example.com/hunter2\n", "sallyport.yaml:2: webhook.url: isn't the URL of a receiver; write it like https://hooks.example.com/sallyport"},
		{"other scheme", "webhook:\n  url: file:///etc/passwd\n", "sallyport.yaml:2: webhook.url: isn't the URL of a receiver"},
		{"gopher", "webhook:\n  url: gopher://hooks.example.com\n", "sallyport.yaml:2: webhook.url: isn't the URL of a receiver"},
		{"fragment", "webhook:\n  url: 'https://hooks.example.com/#hunter2'\n", "sallyport.yaml:2: webhook.url: has a fragment"},
		{"space", "webhook:\n  url: https://hooks.example.com/a hunter2\n", "sallyport.yaml:2: webhook.url: has characters that no URL has"},
		{"line break", "webhook:\n  url: \"https://hooks.example.com/a\\r\\nX: hunter2\"\n", "sallyport.yaml:2: webhook.url: isn't the URL of a receiver"},
		{"short address", "webhook:\n  url: https://127.1/hunter2\n", "sallyport.yaml:2: webhook.url: \"127.1\" isn't a host name"},
		{"number", "webhook:\n  url: https://2130706433/\n", "sallyport.yaml:2: webhook.url: \"2130706433\" isn't a host name"},
		{"mapped address", "webhook:\n  url: https://[::ffff:127.0.0.1]/\n", "sallyport.yaml:2: webhook.url: browsers don't agree"},

		{"no secret", "webhook:\n  url: https://hooks.example.com\n", "sallyport.yaml:2: webhook.url: needs webhook.secret_file"},
		{"a key without url", "webhook:\n" + file, "sallyport.yaml:2: webhook.secret_file: has no effect until webhook.url is set"},
		{"a CA without url", "webhook:\n  ca: /ca.pem\n", "sallyport.yaml:2: webhook.ca: has no effect until webhook.url is set"},
		{"a CA without TLS", "webhook:\n  url: http://127.0.0.1/\n  ca: /ca.pem\n" + file, "sallyport.yaml:3: webhook.ca: has no effect, since requests to http://127.0.0.1"},
		{"an event twice", "webhook:\n  url: https://hooks.example.com\n  events: [a, b, a]\n" + file, "sallyport.yaml:3: webhook.events: has \"a\" twice"},
		{"no TLS to the Internet", "webhook:\n  url: http://hooks.example.com\n" + file, "sallyport.yaml:2: webhook.url: begins with http://"},

		{"every network", "webhook:\n  url: https://hooks.example.com\n  networks: [0.0.0.0/0]\n" + file, "sallyport.yaml:3: webhook.networks: \"0.0.0.0/0\" is larger than any private network"},
		{"half of all networks", "webhook:\n  url: https://hooks.example.com\n  networks: ['8000::/1']\n" + file, "sallyport.yaml:3: webhook.networks: \"8000::/1\" is larger than any private network"},
		{"bits beyond the length", "webhook:\n  url: https://hooks.example.com\n  networks: [10.1.2.3/8]\n" + file, "sallyport.yaml:3: webhook.networks: \"10.1.2.3/8\" has bits set beyond"},
		{"a name for a network", "webhook:\n  url: https://hooks.example.com\n  networks: [localhost]\n" + file, "sallyport.yaml:3: webhook.networks: \"localhost\" isn't an address or prefix"},
		{"a mapped network", "webhook:\n  url: https://hooks.example.com\n  networks: ['::ffff:10.0.0.0/104']\n" + file, "sallyport.yaml:3: webhook.networks: "},
	} {
		_, err := loadText(test.text)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s:\ngot  %v\nwant %s", test.name, err, test.want)
		}
	}
}

// FuzzWebhookURL: a URL that is accepted reads back, and neither it nor an error shows its path.
func FuzzWebhookURL(f *testing.F) {
	f.Add("https://hooks.example.com/a?b=c")
	f.Add("http://[::1]:80//x")
	f.Add("https://a:b@c/")
	f.Fuzz(func(t *testing.T, text string) {
		var w, again WebhookURL
		if w.UnmarshalText([]byte(text)) != nil || w == (WebhookURL{}) {
			return
		}
		u := w.URL()
		if u == nil || u.User != nil || u.Fragment != "" || u.Host != w.Origin.Host {
			t.Fatalf("%q is %+v, %v", text, w, u)
		}
		if err := again.UnmarshalText([]byte(u.String())); err != nil || again != w {
			t.Errorf("%q is %+v, printed as %s, which is %+v, %v", text, w, u, again, err)
		}
	})
}
