package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/outbox"
	"github.com/sallyport/sallyport/internal/server"
)

type mailQueueCommands struct {
	List  mailQueueList  `cmd:"" help:"List the messages that wait, with the reason why the last try failed." example:"sallyport mail queue list"`
	Retry mailQueueRetry `cmd:"" help:"Have the servers try failed messages again at once." example:"sallyport mail queue retry"`
	Drop  mailQueueDrop  `cmd:"" help:"Delete a message unsent. Its owner's activity says so." example:"sallyport mail queue drop J8kq2vWc0aZtY4mRb1xL"`
}

type mailQueueList struct{ listFlags }

// queuedMessage is a line of "mail queue list". It doesn't have the message's content.
type queuedMessage struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"`              // mail, webhook
	Account   string    `json:"account,omitempty"` // name, or id if the account is gone
	Address   string    `json:"address,omitempty"` // missing: the account's address
	Refused   bool      `json:"refused,omitempty"` // the mail server refused the account's address before
	Topic     string    `json:"topic"`
	State     string    `json:"state"` // waiting, sending
	More      int       `json:"more"`  // how many other messages it stands for
	Created   time.Time `json:"created"`
	Due       time.Time `json:"due"`
	GivesUp   time.Time `json:"gives_up"`
	Tries     int       `json:"tries"`
	LastError string    `json:"last_error,omitempty"`
}

func (m queuedMessage) cells() []string {
	to := m.Account
	if m.Address != "" {
		to += " at " + m.Address
	}
	if m.Refused {
		to += " (refused)"
	}
	when := formatTime(m.Due)
	if m.State != waitingState {
		when = m.State
	}
	return []string{m.ID, m.Kind, m.Topic, to, formatTime(m.Created), fmt.Sprint(m.Tries), when, m.LastError}
}

// Values of state.
const (
	waitingState = "waiting"
	sendingState = "sending"
)

// queuePage is how many messages are read at once.
const queuePage = 500

func (c mailQueueList) Run(r *run) error {
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	to := c.newWriter(r.streams.Out, "ID", "KIND", "TOPIC", "FOR", "CREATED", "TRIES", "NEXT TRY", "LAST ERROR")
	known := map[string]account.Account{}
	for after := ""; ; {
		page, err := outbox.List(r, portal.DB.Reader(), after, queuePage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return to.end()
		}
		for _, m := range page {
			owner, err := accountOf(r, portal, known, m.AccountID)
			if err != nil {
				return err
			}
			if err := to.add(rowOfMessage(m, owner, portal.Login.Clock())); err != nil {
				return err
			}
		}
		after = page[len(page)-1].ID
	}
}

func rowOfMessage(m outbox.Message, owner account.Account, now time.Time) queuedMessage {
	row := queuedMessage{
		ID: m.ID, Kind: string(m.Kind), Account: owner.Name, Address: m.Address, Topic: m.Topic, State: waitingState, More: m.More,
		Created: m.CreatedAt, Due: m.DueAt, GivesUp: m.GivesUpAt, Tries: m.Tries, LastError: m.LastError,
	}
	row.Refused = !owner.EmailRefusedAt.IsZero() && (m.Address == "" || m.Address == owner.Email)
	if now.Before(m.ClaimedUntil) {
		row.State = sendingState
	}
	return row
}

// accountOf returns the account with an id. If the account is gone, accountOf returns an account whose
// name is the id. It keeps the accounts that it has read in known.
func accountOf(r *run, portal *server.Portal, known map[string]account.Account, id string) (account.Account, error) {
	if a, ok := known[id]; ok || id == "" {
		return a, nil
	}
	a, err := account.ByID(r, portal.DB.Reader(), id)
	if errors.Is(err, db.ErrNotFound) {
		a.Name, err = id, nil
	}
	known[id] = a
	return a, err
}

type mailQueueRetry struct {
	ID string `arg:"" optional:"" help:"The id of one message. Without it: all that failed."`
}

func (c mailQueueRetry) Run(r *run) error {
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	n, err := portal.Manage.Messages.Retry(r, manage.CommandLine(), c.ID)
	if err == nil && n == 0 && c.ID != "" {
		return fmt.Errorf("no message %q waits after a failure; see \"sallyport mail queue list\"", c.ID)
	}
	return printOnSuccess(r, err, "The servers try %s again at once.\n", countOf(n, "message", "messages"))
}

type mailQueueDrop struct {
	ID string `arg:"" help:"The message's id, as \"mail queue list\" shows it."`
}

func (c mailQueueDrop) Run(r *run) error {
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	err = portal.Manage.Messages.Remove(r, manage.CommandLine(), c.ID)
	switch {
	case errors.Is(err, db.ErrNotFound):
		err = fmt.Errorf("there is no message %q; it was sent or given up; see \"sallyport mail queue list\"", c.ID)
	case errors.Is(err, outbox.ErrClaimed):
		err = fmt.Errorf("a server is sending message %s now; try again in a minute", c.ID)
	}
	return printOnSuccess(r, err, "Message %s was deleted unsent.\n", c.ID)
}
