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
	// ClientsPerLane is the number of clients, which keep two cores busy.
	ClientsPerLane = 2

	// wrongAtMost is the most wrong codes of an account. After five, its password would
	// be suspect.
	wrongAtMost = 2
)

// Series returns the number of rounds and the seed of the random numbers. An environment
// variable with the value "500" or "500:SEED" sets others.
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

// Owner is a simulated user with an account, who remembers the answers. It isn't safe for
// concurrent use.
type Owner struct {
	Name     string
	Secret   []byte
	on       bool         // the confirmation of the wizard was answered
	Unused   []string     // valid backup codes; none if the answer with a new set was lost
	dead     []string     // backup codes of earlier sets
	spent    []Credential // accepted, with an answer
	Unsure   []Credential // sent without an answer
	wrong    int          // number of wrong codes with an answer
	LastStep int64
}

// CodeNow returns a code of an unused step, at the earliest the present one.
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

// AtOnce is the number of concurrent sign-ins that fit into the budget of wrong passwords.
const AtOnce = 9
