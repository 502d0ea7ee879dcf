package secret

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHeadReadsWhatItPrints(t *testing.T) {
	h := Head{Seq: 7, MAC: []byte{1, 0xab}}
	got, err := ParseHead(h.String())
	if diff := cmp.Diff(h, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, bad := range []string{"", ":", "7", "7:", "7:x", "x:ab", "0:ab", "-1:ab", "7:ab:cd"} {
		if h, err := ParseHead(bad); err == nil {
			t.Errorf("%q is read as %v, want an error", bad, h)
		}
	}
}

func FuzzParseHead(f *testing.F) {
	for _, seed := range []string{"", "7:01ab", "07:AB", "9223372036854775808:ab"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHead(text)
		if err != nil {
			return
		}
		if second, err := ParseHead(h.String()); err != nil || !second.Equal(h) {
			t.Errorf("%q is read as %v, whose text is read as %v, %v; want the same", text, h, second, err)
		}
	})
}
