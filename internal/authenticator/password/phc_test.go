package password

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestHashesAreSaltedAndRedacted(t *testing.T) {
	one, err := Hash(testkit.Quick, good)
	testkit.Check(t, err)
	two, err := Hash(testkit.Quick, good)
	testkit.Check(t, err)
	if one.Reveal() == two.Reveal() {
		t.Error("hashing one password twice gives the same hash")
	}
	if !strings.HasPrefix(one.Reveal(), "$argon2id$v=19$m=64,t=1,p=1$") || one.String() != "[redacted]" {
		t.Errorf("hash is %q, printed as %q; want a PHC string, and [redacted]", one.Reveal(), one)
	}
	for _, bad := range []string{"\x00", "\xff", strings.Repeat("x", 1_000_000)} {
		if phc, err := Hash(testkit.Quick, bad); !errors.Is(err, ErrInvalid) || phc.Reveal() != "" {
			t.Errorf("Hash(%.10q) = %q, %v; want ErrInvalid and no hash", bad, phc.Reveal(), err)
		}
	}
}

func FuzzPHC(f *testing.F) {
	salt, hash := bytes.Repeat([]byte{7}, 16), bytes.Repeat([]byte{9}, 32)
	f.Add(phc(testkit.Quick, salt, hash))
	f.Add(phc(secret.Argon2id{MemoryKiB: 19456, Iterations: 2}, salt, hash))
	for _, bad := range []string{"", "$", "$$$$$", "$argon2id$v=19$m=64,t=1,p=1$$", "$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$x", "$argon2id$v=19$m=064,t=1,p=1$c2FsdHNhbHQ$x", "$argon2id$v=19$m=-1,t=1,p=1$c2FsdHNhbHQ$x", "$2b$10$abc"} {
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, salt, hash, err := parsePHC(text)
		if err != nil {
			return
		}
		if !p.Sound() || len(hash) != secret.Argon2HashBytes || len(salt) < 8 {
			t.Fatalf("%q parses to %+v, %d and %d bytes; want sound parameters, at least 8 bytes of salt and a whole hash", text, p, len(salt), len(hash))
		}
		if got := phc(p, salt, hash); got != text {
			t.Fatalf("printed %q, parsed %q", got, text)
		}
	})
}

func TestPHCReadsOnlyItsOwnForm(t *testing.T) {
	salt, hash := bytes.Repeat([]byte{7}, 16), bytes.Repeat([]byte{9}, 32)
	good := phc(testkit.Quick, salt, hash)
	p, gotSalt, gotHash, err := parsePHC(good)
	if err != nil || p != testkit.Quick || !bytes.Equal(gotSalt, salt) || !bytes.Equal(gotHash, hash) {
		t.Fatalf("parsePHC(%q) = %+v, %x, %x, %v; want what was printed", good, p, gotSalt, gotHash, err)
	}
	for _, change := range [][2]string{
		{"argon2id", "argon2i"}, {"argon2id", "Argon2id"}, {"v=19", "v=16"}, {"m=64", "m=064"}, {"m=64", "m=7"}, {"m=64", "m=1048577"}, {"m=64", "m=-64"}, {"m=64", "m=4294967360"},
		{"t=1", "t=0"}, {"t=1", "t=65"}, {"t=1", "t=1 "}, {"p=1", "p=2"}, {"p=1", "p=1,x=1"}, {",t=1,p=1", ""}, {"$argon2id", "argon2id"}, {"BwcH", "!!!!"}, {"BwcHBwcHBwcHBwcHBwcHBw", "BwcHBwcHBw"}, {"BwcHBwcHBwcHBwcHBwcHBw", ""}, {"CQkJ", "CQ=="}, {"CQkJ", "CQk"},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%v doesn't change the text", change)
		}
		if _, _, _, err := parsePHC(bad); err == nil {
			t.Errorf("parsePHC accepted %q", bad)
		}
	}
	for _, more := range []string{good + "$", good + "=", good + "\n", " " + good, good + "$x"} {
		if _, _, _, err := parsePHC(more); err == nil {
			t.Errorf("parsePHC accepted %q", more)
		}
	}
}

// If half of the accounts still have the old cost, half of the unknown names get the old cost
// too. Each name always gets the same cost.
func TestARaisedCostDoesNotShowWhichNamesExist(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ring := context.Background(), secret.NewRing()
		raised := secret.Argon2id{MemoryKiB: testkit.Quick.MemoryKiB, Iterations: testkit.Quick.Iterations + 1}
		costs := map[secret.Argon2id]int{}
		for n := range 16 {
			id := create(t, d, ring, fmt.Sprint("account", n), "correct horse battery")
			if n%2 == 0 {
				set(t, d, ring, id, raised, "correct horse battery")
			}
		}
		const names = 400
		for range names {
			id := secret.NewID()
			known, _, _, cost, _, _, err := loadForVerify(ctx, d.Reader(), ring, raised, id)
			if err != nil || known {
				t.Fatalf("an unknown id: known %v, %v; want false", known, err)
			}
			if _, _, _, again, _, _, err := loadForVerify(ctx, d.Reader(), ring, raised, id); err != nil || again != cost {
				t.Errorf("the same name takes cost %v, then %v; want the same", cost, again)
			}
			costs[cost]++
		}
		if costs[raised]+costs[testkit.Quick] != names || costs[raised] == 0 || costs[testkit.Quick] == 0 {
			t.Errorf("unknown names take the costs %v, want the old and the new one", costs)
		}
		if o, err := Verify(ctx, d.Reader(), ring, raised, secret.NewID(), "correct horse battery"); err != nil || o.Match {
			t.Errorf("an unknown id: %+v, %v; want no match", o, err)
		}
	})
}
