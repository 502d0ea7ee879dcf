package cli

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
)

// A server compares its clock with the reference, which is PostgreSQL's clock if there is
// one, before it answers requests. That sets the high-water mark.
func TestClockShowsTheMarkOfARunningServer(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := environWithPortal(t, engine)
			if code, out, errs := call(environ, "", "clock", "show"); code != 0 || !strings.Contains(out, "never") {
				t.Fatalf("before the server started: exit code %d, want 0 and \"never\", got\n%s%s", code, out, errs)
			}
			running := start(t, environ, "serve")
			url := running.waitFor(t, `Sallyport is at (\S+)`)[1]
			resp, err := http.Get(url + "readyz")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("readyz: %d, want 200", resp.StatusCode)
			}
			code, out, errs := call(environ, "", "clock", "show")
			if code != 0 || strings.Contains(out, "never") || !strings.Contains(out, "taken") {
				t.Errorf("while the server runs: exit code %d, want 0 and \"taken\", got\n%s%s", code, out, errs)
			}
			if code, _, errs := call(environ, "", "clock", "accept"); code != 0 {
				t.Errorf("accept: exit code %d, want 0, got %s", code, errs)
			}
		})
	}
}
