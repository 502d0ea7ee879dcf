package cli

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
)

// A running server has looked at its clock, PostgreSQL's there, before it
// answers.
func TestClockShowsTheMarkOfARunningServer(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := madeFor(t, engine)
			if code, out, errs := call(environ, "", "clock", "show"); code != 0 || !strings.Contains(out, "never") {
				t.Fatalf("before: %d\n%s%s", code, out, errs)
			}
			running := start(t, environ, "serve")
			at := running.waitFor(t, `Sallyport is at (\S+)`)[1]
			resp, err := http.Get(at + "readyz")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("readyz: %d", resp.StatusCode)
			}
			code, out, errs := call(environ, "", "clock", "show")
			if code != 0 || strings.Contains(out, "never") || !strings.Contains(out, "taken") {
				t.Errorf("served: %d\n%s%s", code, out, errs)
			}
			if code, _, errs := call(environ, "", "clock", "accept"); code != 0 {
				t.Errorf("accept: %d %s", code, errs)
			}
		})
	}
}
