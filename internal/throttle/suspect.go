package throttle

import "time"

// What wrong codes after a right password mean.
const (
	// noticeCodes wrong ones are told to the owner.
	noticeCodes = 3
	// suspectCodes wrong ones in [SuspectWithin] show that somebody else has the
	// password (SP 800-63B: "evidence of compromise").
	suspectCodes = 5
	// SuspectWithin is how long a wrong code says something of the password.
	SuspectWithin = 30 * day
)

// Suspicion is what the wrong codes of an account say about its password.
type Suspicion struct {
	Codes   int  // submitted by attempts that never became a session, in 30 days, since the password was set
	Notice  bool // the owner should hear of it
	Suspect bool // the password must be changed
}

// suspicion is a pure function over the entries of the code buckets.
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
