package page

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
)

// Form has the fields of a request's form by name.
type Form struct {
	values url.Values
	err    error
}

// ReadForm reads the request's form. Its error is [Form.Err]. Each call returns the same form:
// net/http reports a fault of the body only once.
func (r *Request) ReadForm() Form {
	if r.form == nil {
		form := r.readForm()
		r.form = &form
	}
	return *r.form
}

func (r *Request) readForm() Form {
	err := r.ParseForm()
	if err != nil && !isTooLarge(err) {
		err = ErrBadForm
	}
	for _, values := range r.PostForm {
		if err == nil && len(values) > 1 {
			err = ErrBadForm
		}
	}
	return Form{r.PostForm, err}
}

// Err returns an error if the form is too large, can't be parsed, or has a field twice. No page of
// Sallyport sends such a form, and handlers mustn't choose between two values (attack 32). If Err
// returns an error, every value is "".
func (f Form) Err() error { return f.err }

// Value returns the value of a field, or "" if the form has no such field.
func (f Form) Value(name string) string {
	if f.err != nil {
		return ""
	}
	return f.values.Get(name)
}

// Has reports whether the form has a field.
func (f Form) Has(name string) bool { return f.err == nil && f.values.Has(name) }

// Names returns the names of the form's fields, sorted.
func (f Form) Names() []string {
	if f.err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(f.values))
}

func isTooLarge(err error) bool {
	var large *http.MaxBytesError
	return errors.As(err, &large)
}
