package notice

import (
	"time"

	"github.com/sallyport/sallyport/internal/outbox"
)

// Quotas of mails, so that an attacker can't fill a mailbox, nor cause so many mails that the owner
// ignores them. Mails over a quota of the account are folded into the next mail of their kind, which
// says how many it stands for.
const (
	perKind    = 3  // a day, of one kind
	perAccount = 20 // a day, of all kinds but wrong codes
	perHour    = 1  // an hour, of wrong codes
	day        = 24 * time.Hour
	siteEvery  = 3600 * time.Millisecond // 1,000 mails an hour for all accounts together
	siteAtOnce = 1000                    // after an hour without mail
)

// Limits returns the quotas of mails with this topic, which is a [Kind]. Quotas don't apply to
// urgent mails.
func Limits(topic string) []outbox.Limit {
	if Kind(topic) == WrongCodes {
		// An attacker can cause wrong codes at will. If their notices counted against the quota that
		// all kinds share, the notice of the attacker's own sign-in would wait for hours.
		return []outbox.Limit{{N: perHour, Per: time.Hour, Topic: true}}
	}
	return []outbox.Limit{{N: perKind, Per: day, Topic: true}, {N: perAccount, Per: day}}
}

// SiteRate returns the maximum rate of mails to all accounts together. Mails over this rate wait,
// since mail providers block senders that suddenly send thousands of mails.
func SiteRate() outbox.Rate { return outbox.Rate{Every: siteEvery, Burst: siteAtOnce} }
