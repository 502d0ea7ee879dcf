package page

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFormsHaveEachFieldOnce(t *testing.T) {
	for body, want := range map[string]string{
		"code=123456&next_code=": "123456",
		"":                       "",
		"code=1&code=2":          "form can't be read",
		"code=1&name=a&name=a":   "form can't be read",
		"code=%zz":               "form can't be read",
	} {
		r := httptest.NewRequest("POST", "/login/code?code=9", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req := &Request{Request: r}
		req.ReadForm()
		form := req.ReadForm() // no call may forget the fault that the first one found
		got := form.Value("code")
		if err := form.Err(); err != nil {
			got = err.Error()
			if !errors.Is(err, ErrBadForm) || form.Value("code") != "" || form.Has("code") || len(form.Names()) > 0 {
				t.Errorf("form %q: error %v, value %q, fields %v; want ErrBadForm and no values", body, err, form.Value("code"), form.Names())
			}
		}
		if got != want {
			t.Errorf("form %q: code is %q, want %q", body, got, want)
		}
	}
}
