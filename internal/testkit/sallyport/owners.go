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
	// ClientsPerWorkload is the number of concurrent clients of a workload. It keeps two cores busy.
	ClientsPerWorkload = 2

	// maxWrong limits the wrong codes for an account: after five, its password would be
	// suspect.
	maxWrong = 2
)

// Series returns the number of rounds to run and the seed of random choices. The environment
// variable whose name is given can override them, with "500" (rounds) or "500:SEED".
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

// Credential is a TOTP code or a backup code.
type Credential struct {
	Backup bool
	Code   string
}

// Form returns the path and the form field that accept the credential.
func (c Credential) Form() (path, field string) {
	if c.Backup {
		return "/login/backup-code", "backup_code"
	}
	return "/login/code", "code"
}

// Owner is the owner of an account. An Owner remembers the server's answers. It isn't safe for
// concurrent use.
type Owner struct {
	Name     string
	Secret   []byte
	on       bool         // the server answered that the wizard was confirmed
	Unused   []string     // valid backup codes; empty if a request for a new set got no answer
	dead     []string     // backup codes of replaced sets
	spent    []Credential // those that the server's answers accepted
	Unsure   []Credential // those that were sent but got no answer
	wrong    int          // the number of wrong codes that got an answer
	LastStep int64        // the last time step whose code was used
}

// CodeNow returns the code of the current time step, or of the first unused one after it.
func (o *Owner) CodeNow() string {
	o.LastStep = max(o.LastStep+1, totp.Step(time.Now(), totp.Period))
	return totp.CodeAt(o.Secret, time.Unix(o.LastStep*int64(totp.Period/time.Second), 0))
}

// WrongCode returns a code that isn't valid at any time within half an hour of now.
func WrongCode(key []byte) string {
	valid := map[string]bool{}
	for step := -60; step <= 60; step++ {
		valid[totp.CodeAt(key, time.Now().Add(time.Duration(step)*totp.Period))] = true
	}
	for n := 100000; ; n++ {
		if code := strconv.Itoa(n); !valid[code] {
			return code
		}
	}
}

// ConcurrentAttempts is how many attempts at one account can run at once without exceeding the
// budget for wrong passwords.
const ConcurrentAttempts = 9
