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
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/testkit"
)

// deadlineRecorder is a [httptest.ResponseRecorder] that records the deadlines set for it.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	read, write []time.Time
}

func (d *deadlineRecorder) SetReadDeadline(at time.Time) error {
	d.read = append(d.read, at)
	return nil
}

func (d *deadlineRecorder) SetWriteDeadline(at time.Time) error {
	d.write = append(d.write, at)
	return nil
}

// TestAttack149StrangersStayLimited: a client without a visit can't hold a connection without
// sending or reading data.
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
		Entry: &entry.Service{DB: &db.DB{}, Clock: func() time.Time { return testkit.Start }}, Upstream: to, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Panel: &access.Panel{Origin: "http://panel.test", Demand: access.Demand{Requirement: access.Public}},
	})
	const size = 100 << 10
	w := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
	gate.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "http://panel.test/", io.MultiReader(strings.NewReader(strings.Repeat("x", size)))))
	if w.Code != http.StatusOK || w.Body.Len() != size {
		t.Fatalf("status %d with %d bytes, want 200 with all %d bytes", w.Code, w.Body.Len(), size)
	}
	if len(w.write) == 0 || len(w.read) < 3 {
		t.Fatalf("%d deadlines for the answer and %d for the body, want at least 1 and 3", len(w.write), len(w.read))
	}
	for _, at := range w.write {
		if at.IsZero() {
			t.Error("a piece of the answer has no deadline")
		}
	}
	start, end := w.read[0], len(w.read)-1
	for i, at := range w.read[:end] {
		switch {
		case at.IsZero():
			t.Fatal("a piece of the body has no deadline")
		case i > 0 && !at.After(w.read[i-1]):
			t.Error("the deadline isn't extended although more of the body arrived")
		}
	}
	if got, want := w.read[end-1].Sub(start), size*(time.Second/minBodyRate); got != want {
		t.Errorf("the deadline was extended by %v for the body, want %v", got, want)
	}
	if !w.read[end].IsZero() {
		t.Error("the body's deadline still applies after its end, and would end the answer")
	}
}

func TestStrangersWithoutABodyWaitForTheAnswer(t *testing.T) {
	w := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
	if _, _, err := withPace(w, httptest.NewRequest(http.MethodGet, "http://panel.test/events", nil), time.Now); err != nil {
		t.Fatal(err)
	}
	if len(w.read) != 1 || !w.read[0].IsZero() || len(w.write) != 0 {
		t.Errorf("read deadlines %v, write deadlines %v; want one read deadline that is zero", w.read, w.write)
	}
}

// TestPausesOfMultiplexedAnswersHaveNoLimit: in HTTP/2 the deadline of a piece would end the
// answer while the panel pauses.
func TestPausesOfMultiplexedAnswersHaveNoLimit(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://panel.test/events", nil)
	r.ProtoMajor = 2
	w := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
	answer, _, err := withPace(w, r, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name     string
		do       func()
		deadline bool
	}{
		{"early hints", func() { answer.WriteHeader(http.StatusEarlyHints) }, false},
		{"the head", func() { answer.WriteHeader(http.StatusOK) }, true},
		{"a piece", func() { io.WriteString(answer, "a") }, true},
		{"a flush", func() { http.NewResponseController(&finalAnswer{ResponseWriter: answer}).Flush() }, false},
		{"another piece", func() { io.WriteString(answer, "b") }, true},
		{"another flush", func() { http.NewResponseController(answer).Flush() }, false},
		{"the end", answer.end, true},
	} {
		step.do()
		if got := !w.write[len(w.write)-1].IsZero(); got != step.deadline {
			t.Errorf("after %s there is a deadline: %v, want %v", step.name, got, step.deadline)
		}
	}
}
