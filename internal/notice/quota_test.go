package notice

import "testing"

// The notices of wrong codes don't use up the quota of the notice that a guess succeeded.
func TestWrongCodesLeaveTheQuotaOfOtherKinds(t *testing.T) {
	for _, kind := range Kinds() {
		shared := false
		for _, limit := range Limits(string(kind)) {
			shared = shared || !limit.Topic
		}
		if shared == (kind == WrongCodes) {
			t.Errorf("%s counts against the quota of all kinds: %v, want true for every kind but wrong codes", kind, shared)
		}
	}
}
