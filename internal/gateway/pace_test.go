package gateway

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/testkit"
)

// limits is an answer that keeps the limits that were set for it.
type limits struct {
	*httptest.ResponseRecorder
	read, write []time.Time
}

func (l *limits) SetReadDeadline(at time.Time) error {
	l.read = append(l.read, at)
	return nil
}

func (l *limits) SetWriteDeadline(at time.Time) error {
	l.write = append(l.write, at)
	return nil
}

// TestAttack149StrangersStayLimited: whoever has no name may not hold a
// connection by doing nothing.
func TestAttack149StrangersStayLimited(t *testing.T) {
	panel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	}))
	t.Cleanup(panel.Close)
	to, err := url.Parse(panel.URL)
	if err != nil {
		t.Fatal(err)
	}
	gate := New(Options{
		Login: &login.Service{DB: &db.DB{}, Clock: func() time.Time { return testkit.Start }}, To: to, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Panel: &access.Panel{Origin: "http://panel.test", Demand: access.Demand{Requirement: access.Public}},
	})
	const size = 100 << 10
	w := &limits{ResponseRecorder: httptest.NewRecorder()}
	gate.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "http://panel.test/", io.MultiReader(strings.NewReader(strings.Repeat("x", size)))))
	if w.Code != http.StatusOK || w.Body.Len() != size {
		t.Fatalf("%d with %d bytes, want all %d", w.Code, w.Body.Len(), size)
	}
	if len(w.write) == 0 || len(w.read) < 3 {
		t.Fatalf("%d limits for the answer and %d for the body", len(w.write), len(w.read))
	}
	for _, at := range w.write {
		if at.IsZero() {
			t.Error("an answer may be taken as slowly as one likes")
		}
	}
	begin, end := w.read[0], len(w.read)-1
	for i, at := range w.read[:end] {
		switch {
		case at.IsZero():
			t.Fatal("a body may come as slowly as one likes")
		case i > 0 && !at.After(w.read[i-1]):
			t.Error("a body that moves gets no more time")
		}
	}
	if got, want := w.read[end-1].Sub(begin), size*(time.Second/slowest); got != want {
		t.Errorf("the body got %v, want %v", got, want)
	}
	if !w.read[end].IsZero() {
		t.Error("after the body's end its limit would end the answer")
	}
}

func TestStrangersWithoutABodyWaitForTheAnswer(t *testing.T) {
	w := &limits{ResponseRecorder: httptest.NewRecorder()}
	if _, _, err := paced(w, httptest.NewRequest(http.MethodGet, "http://panel.test/events", nil), time.Now); err != nil {
		t.Fatal(err)
	}
	if len(w.read) != 1 || !w.read[0].IsZero() || len(w.write) != 0 {
		t.Errorf("limits %v and %v", w.read, w.write)
	}
}
