package notice

import "testing"

// Who guesses codes must not use up the mails that say that the guesses succeeded.
func TestWrongCodesLeaveTheQuotaOfOtherKinds(t *testing.T) {
	for _, kind := range Kinds() {
		shared := false
		for _, limit := range Limits(string(kind)) {
			shared = shared || !limit.Topic
		}
		if shared == (kind == WrongCodes) {
			t.Errorf("%s counts against the quota of all kinds: %v", kind, shared)
		}
	}
}
