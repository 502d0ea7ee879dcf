package sallyport

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
)

const (
	// ClientsPerLane keep two cores busy.
	ClientsPerLane = 2

	// wrongAtMost of an account: with five its password would count as known
	// to somebody.
	wrongAtMost = 2
)

// Series returns how many rounds to run, and the seed of what is random. A
// variable "500", or "500:SEED", asks for others.
func Series(t *testing.T, variable string, rounds int) (n int, seed uint64) {
	t.Helper()
	n, seed = rounds, rand.Uint64()
	if text := os.Getenv(variable); text != "" {
		number, given, fixed := strings.Cut(text, ":")
		var err error
		n, err = strconv.Atoi(number)
		testkit.Check(t, err)
		if fixed {
			seed, err = strconv.ParseUint(given, 10, 64)
			testkit.Check(t, err)
		}
	}
	t.Logf("%s=%d:%d", variable, n, seed)
	return n, seed
}

// Credential is a code or a backup code.
type Credential struct {
	Backup bool
	Code   string
}

// Form returns the path and the field in which a credential is sent.
func (c Credential) Form() (path, field string) {
	if c.Backup {
		return "/login/backup-code", "backup_code"
	}
	return "/login/code", "code"
}

// Owner is somebody with an account, who remembers what was answered. One
// goroutine at a time uses it.
type Owner struct {
	Name     string
	Secret   []byte
	on       bool         // the wizard was confirmed, and that was answered
	Unused   []string     // backup codes in force; none where a new set wasn't answered
	dead     []string     // backup codes of a set before
	spent    []Credential // accepted, and that was answered
	Unsure   []Credential // sent, not answered
	wrong    int          // wrong codes that were answered
	LastStep int64
}

// CodeNow is a code of a step that wasn't used, which may be the next one.
func (o *Owner) CodeNow() string {
	o.LastStep = max(o.LastStep+1, totp.Step(time.Now()))
	return totp.CodeAt(o.Secret, time.Unix(o.LastStep*int64(totp.Period/time.Second), 0))
}

// OtherThan returns a code that isn't right within half an hour.
func OtherThan(key []byte) string {
	right := map[string]bool{}
	for step := -60; step <= 60; step++ {
		right[totp.CodeAt(key, time.Now().Add(time.Duration(step)*totp.Period))] = true
	}
	for n := 100000; ; n++ {
		if code := strconv.Itoa(n); !right[code] {
			return code
		}
	}
}

// AtOnce are as many as fit into the budget of wrong passwords beside each other.
const AtOnce = 9
