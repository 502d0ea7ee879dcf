package cli

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWebhookTestPrintsTheRequest(t *testing.T) {
	status := 204
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status == 302 {
			w.Header().Set("Location", "http://"+r.Host+"/elsewhere")
		}
		w.WriteHeader(status)
	}))
	defer s.Close()
	dir := t.TempDir()
	secrets := filepath.Join(dir, "secrets")
	must(t, os.WriteFile(secrets, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nwhsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"), 0o600))
	environ := []string{"SALLYPORT_DATA_DIR=" + dir}
	if code, out, errs := call(environ, "", "webhook", "test"); code != exitUsage || out != "" || !strings.Contains(errs, "webhook.url isn't set") {
		t.Errorf("no webhook: exit code %d, want 2 and \"webhook.url isn't set\", got\n%s%s", code, out, errs)
	}
	environ = append(environ, "SALLYPORT_WEBHOOK_URL="+s.URL+"/hook", "SALLYPORT_WEBHOOK_SECRET_FILE="+secrets)
	if code, out, errs := call(environ, "", "webhook", "test"); code != exitUsage || out != "" || !strings.Contains(errs, "webhook.networks") {
		t.Errorf("a network that isn't named: exit code %d, want 2 and \"webhook.networks\", got\n%s%s", code, out, errs)
	}
	environ = append(environ, "SALLYPORT_WEBHOOK_NETWORKS=127.0.0.1")
	for _, test := range []struct {
		status, code int
		says         string
	}{
		{204, 0, "The receiver accepted the request.\n"},
		{302, exitFailed, "never followed"},
		{401, exitFailed, "Compare the secret"},
		{404, exitFailed, "Correct the path"},
		{500, exitFailed, "Look into the receiver's log"},
	} {
		status = test.status
		code, out, errs := call(environ, "", "webhook", "test")
		if code != test.code || !strings.Contains(out+errs, test.says) || strings.Count(out, "* Signed with whsec_********\n") != 2 ||
			!strings.Contains(out, "-> POST /hook\n") || !strings.Contains(out, `-> {"type":"test",`) || strings.Contains(out+errs, "MfKQ") || strings.Contains(out+errs, "AAEC") {
			t.Errorf("%d: exit code %d\n%s%s", test.status, code, out, errs)
		}
	}
	s.Close()
	if code, out, errs := call(environ, "", "webhook", "test"); code != exitFailed || !strings.Contains(errs, "connection refused") {
		t.Errorf("no receiver: exit code %d, want 1 and \"connection refused\", got\n%s%s", code, out, errs)
	}
}

func TestWebhookTestTrustsTheCA(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	defer s.Close()
	dir := t.TempDir()
	secrets, ca := filepath.Join(dir, "secrets"), filepath.Join(dir, "ca.pem")
	must(t, os.WriteFile(secrets, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), 0o600))
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o644))
	environ := []string{"SALLYPORT_DATA_DIR=" + dir, "SALLYPORT_WEBHOOK_URL=" + s.URL, "SALLYPORT_WEBHOOK_SECRET_FILE=" + secrets, "SALLYPORT_WEBHOOK_NETWORKS=127.0.0.1"}
	if code, out, errs := call(environ, "", "webhook", "test"); code != exitFailed || !strings.Contains(errs, "certificate") {
		t.Errorf("without the CA: exit code %d, want 1 and \"certificate\", got\n%s%s", code, out, errs)
	}
	if code, out, errs := call(append(environ, "SALLYPORT_WEBHOOK_CA="+ca), "", "webhook", "test"); code != 0 {
		t.Errorf("with the CA: exit code %d, want 0, got\n%s%s", code, out, errs)
	}
}
