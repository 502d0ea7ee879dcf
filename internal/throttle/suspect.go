package throttle

import "time"

// Wrong codes after a right password are a sign that another person has the password.
const (
	// noticeCodes is the number of wrong codes after which the owner is notified.
	noticeCodes = 3
	// suspectCodes is the number of wrong codes within [SuspectWithin] after which the password
	// must be changed (SP 800-63B: "evidence of compromise").
	suspectCodes = 5
	// SuspectWithin is how long a wrong code counts as such a sign.
	SuspectWithin = 30 * day
)

// Suspicion is what the wrong codes of an account say about its password.
type Suspicion struct {
	Codes   int  // wrong codes within 30 days, since the password was set, of attempts that became no session
	Notice  bool // the owner should be notified
	Suspect bool // the password must be changed
}

// suspicion evaluates rows, the entries of the buckets that count wrong codes. It is pure.
func suspicion(now, passwordSet time.Time, rows ...[]entry) Suspicion {
	var s Suspicion
	for _, row := range rows {
		for _, e := range row {
			if !e.owned && now.Sub(e.at) < SuspectWithin && e.at.After(passwordSet) {
				s.Codes++
			}
		}
	}
	s.Notice, s.Suspect = s.Codes >= noticeCodes, s.Codes >= suspectCodes
	return s
}
