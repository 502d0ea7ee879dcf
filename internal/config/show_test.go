package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func show(path string, environ []string) (string, error) {
	c, places, err := Read(path, environ)
	if err != nil {
		return "", err
	}
	return places.Show(c)
}

func TestShowPrintsValuesAndTheirSources(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	text := `public_url: https://auth.example.com
session:
  idle: 3h
trusted_proxies: [127.0.0.1]
panels:
  - url: https://panel.example.com
    upstream: http://127.0.0.1:8082
    groups: [ops]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := show(file, []string{"SALLYPORT_SITE_NAME=Acme"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"public_url: https://auth.example.com # " + file + ":1\n",
		"  idle: 3h # " + file + ":3\n",
		"  absolute: 7d # default\n",
		"site_name: Acme # SALLYPORT_SITE_NAME\n",
		"listen: 127.0.0.1:9091 # default\n",
		"trusted_proxies: # " + file + ":4\n  - 127.0.0.1/32\n",
		"panels: # " + file + ":5\n  - url: https://panel.example.com\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	// The output is a configuration with the same values.
	copied := filepath.Join(t.TempDir(), "copied.yaml")
	if err := os.WriteFile(copied, []byte(got), 0o600); err != nil {
		t.Fatal(err)
	}
	if shown, err := show(copied, nil); err != nil || withoutComments(shown) != withoutComments(got) {
		t.Errorf("the output, loaded and shown: %v; want the same\n%s", err, shown)
	}
}

func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, " #")
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

// Show prints no secret, neither from the file nor from a variable.
func TestShowHidesSecrets(t *testing.T) {
	const canary = "geheim4711"
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	text := "database: postgres://sp:" + canary + "@db.test/sp\ndatabase_direct: postgres://sp:" + canary + "@direct.test/sp\npooler: true\n" +
		"key_ring_command: [/usr/local/bin/unwrap, --token, " + canary + "]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]func() (string, error){
		"file": func() (string, error) { return show(file, nil) },
		"variables": func() (string, error) {
			return show("", []string{"SALLYPORT_DATABASE=postgres://sp:" + canary + "@db.test/sp", "SALLYPORT_KEY_RING_COMMAND=/usr/local/bin/unwrap," + canary})
		},
	} {
		shown, err := got()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(shown, canary) {
			t.Errorf("%s: a secret is printed:\n%s", name, shown)
		}
		for _, want := range []string{"database: '[redacted]'", "- /usr/local/bin/unwrap\n", "- '[redacted]'"} {
			if !strings.Contains(shown, want) {
				t.Errorf("%s: no %q in:\n%s", name, want, shown)
			}
		}
	}
}
