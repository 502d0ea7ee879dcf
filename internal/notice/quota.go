package notice

import (
	"time"

	"github.com/sallyport/sallyport/internal/outbox"
)

// Quotas of mails to one account. What exceeds them is folded into the next mail of its kind,
// which says how many it stands for. They keep an attacker from filling a mailbox, and an owner
// from ignoring the mails.
const (
	perKind    = 3  // a day, of one kind
	perAccount = 20 // a day, of all kinds but wrong codes
	perHour    = 1  // an hour, of wrong codes
	day        = 24 * time.Hour
	siteEvery  = 3600 * time.Millisecond // 1,000 mails an hour for all accounts together
	siteAtOnce = 1000                    // after an hour without mail
)

// Limits returns the quotas of mails with this topic, which is a [Kind]. Urgent ones have none.
func Limits(topic string) []outbox.Limit {
	if Kind(topic) == WrongCodes {
		// A guesser causes these at will. They must not use up what all kinds share, since the
		// notice of the guesser's sign-in would wait for hours then.
		return []outbox.Limit{{N: perHour, Per: time.Hour, Topic: true}}
	}
	return []outbox.Limit{{N: perKind, Per: day, Topic: true}, {N: perAccount, Per: day}}
}

// SiteRate returns the rate of mails to all accounts together. Beyond it mails wait. Mail
// providers block senders whose mails suddenly come in thousands.
func SiteRate() outbox.Rate { return outbox.Rate{Every: siteEvery, Burst: siteAtOnce} }
