package cli

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/server"
)

type auditCommands struct {
	List   auditList   `cmd:"" help:"List the newest events." example:"sallyport audit list --account ada"`
	Export auditExport `cmd:"" help:"Print events as JSON, one per line, oldest first." example:"sallyport audit export --since 2026-11-01T00:00:00Z"`
	Verify auditVerify `cmd:"" help:"Check that nobody changed the log. If somebody did, print what was changed, with exit code 1." example:"sallyport audit verify --head 812:6f0c…"`
}

// maxEventList is the maximum number of events that "audit list" prints; "audit export" has no limit.
const maxEventList = 10_000

type auditList struct {
	listFlags
	Account string `help:"Only events of this account: its name or email address, or the id of a removed account." placeholder:"NAME"`
	Limit   int    `help:"How many events, up to 10000." default:"50" placeholder:"N"`
}

func (c auditList) Run(r *run) error {
	if c.Limit < 1 || c.Limit > maxEventList {
		return fmt.Errorf("--limit %d is outside 1 to %d", c.Limit, maxEventList)
	}
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	events, err := c.events(r, portal)
	if err != nil {
		return err
	}
	names := newAccountNames(r, portal)
	to := c.newWriter(r.streams.Out, "TIME", "ACCOUNT", "BY", "EVENT", "OUTCOME", "DETAIL", "ADDRESS", "NUMBER")
	for _, e := range events {
		name, err := names.byID(e.AccountID)
		if err != nil {
			return err
		}
		if err := to.add(newExportedEvent(e, name)); err != nil {
			return err
		}
	}
	return to.end()
}

func (e exportedEvent) cells() []string {
	name, by, detail, seq := e.Account, e.Actor, e.Detail, "unsealed"
	if name == "" {
		name = e.AccountID
	}
	if e.Number != 0 {
		detail = strings.TrimSpace(fmt.Sprint(e.Detail, " ", e.Number))
	}
	if e.ActorID != "" {
		by += " account:" + e.ActorID
	}
	if e.ClientID != "" {
		by += " client:" + e.ClientID
	}
	if e.Reason != "" {
		detail = strings.TrimSpace(detail + " (" + e.Reason + ")")
	}
	if e.Seq != 0 {
		seq = fmt.Sprint(e.Seq)
	}
	return []string{formatTime(e.At), name, by, e.Event, e.Outcome, detail, e.Address, seq}
}

func (c auditList) events(r *run, portal *server.Portal) ([]audit.Event, error) {
	q := portal.DB.Reader()
	if c.Account == "" {
		return audit.Newest(r, q, c.Limit)
	}
	found, err := account.ByName(r, q, c.Account)
	id, gone := found.ID, errors.Is(err, db.ErrNotFound)
	if gone {
		id = c.Account
	} else if err != nil {
		return nil, err
	}
	events, err := audit.List(r, q, id, audit.Cursor{}, c.Limit)
	if err == nil && gone && len(events) == 0 {
		return nil, fmt.Errorf("there is no account %q, and no event of a removed account with this id; see \"sallyport account list\"", c.Account)
	}
	return events, err
}

// accountNames finds the names of accounts. It reads each account once.
type accountNames struct {
	r      *run
	portal *server.Portal
	known  map[string]string
}

func newAccountNames(r *run, portal *server.Portal) *accountNames {
	return &accountNames{r: r, portal: portal, known: map[string]string{"": ""}}
}

// byID returns the name of the account with this ID, or "" if it was removed.
func (n *accountNames) byID(id string) (string, error) {
	if name, ok := n.known[id]; ok {
		return name, nil
	}
	a, err := account.ByID(n.r, n.portal.DB.Reader(), id)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return "", err
	}
	n.known[id] = a.Name
	return a.Name, nil
}

type auditExport struct {
	Since time.Time `help:"Only events since this time, such as 2026-11-23T12:00:00Z." placeholder:"TIME"`
}

// exportedEvent is a line of "audit export" and "audit list". Programs read it: fields may
// be added, but the meaning of a field must not change.
type exportedEvent struct {
	Seq             int64     `json:"seq,omitempty"` // 0: not sealed yet
	ID              string    `json:"id"`
	At              time.Time `json:"at"` // UTC
	Event           string    `json:"event"`
	Outcome         string    `json:"outcome"`
	Actor           string    `json:"actor"`
	AccountID       string    `json:"account_id,omitempty"`
	Account         string    `json:"account,omitempty"` // the current name, or "" if the account was removed
	AuthenticatorID string    `json:"authenticator_id,omitempty"`
	Detail          string    `json:"detail,omitempty"`
	Number          int       `json:"number,omitempty"`
	Address         string    `json:"address,omitempty"`
	Browser         string    `json:"browser,omitempty"`
	ActorID         string    `json:"actor_id,omitempty"`
	ClientID        string    `json:"client_id,omitempty"`
	Reason          string    `json:"reason,omitempty"`
	MAC             string    `json:"mac,omitempty"` // hexadecimal
}

func (c auditExport) Run(r *run) error {
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	names := newAccountNames(r, portal)
	out := bufio.NewWriter(r.streams.Out)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	err = audit.Each(r, portal.DB.Reader(), c.Since, func(e audit.Event) error {
		name, err := names.byID(e.AccountID)
		if err != nil {
			return err
		}
		return lines.Encode(newExportedEvent(e, name))
	})
	return errors.Join(err, out.Flush())
}

func newExportedEvent(e audit.Event, name string) exportedEvent {
	return exportedEvent{
		Seq: e.Seq, ID: e.ID, At: e.At.UTC(), Event: string(e.Kind), Outcome: e.Outcome, Actor: e.Actor,
		AccountID: e.AccountID, Account: name, AuthenticatorID: e.AuthenticatorID,
		Detail: e.Detail, Number: e.Number, Address: e.Address, Browser: e.Browser,
		ActorID: e.ActorID, ClientID: e.ClientID, Reason: e.Reason, MAC: hex.EncodeToString(e.MAC),
	}
}

type auditVerify struct {
	Head string `help:"A head from an \"audit sealed\" line of the server's log, to check that no event up to it was cut off." placeholder:"NUMBER:HEX"`
}

func (c auditVerify) Run(r *run) error {
	var want audit.Head
	if c.Head != "" {
		var err error
		if want, err = secret.ParseHead(c.Head); err != nil {
			return err
		}
	}
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	report, err := audit.Verify(r, portal.DB.Reader(), portal.Login.Ring, want)
	if fault := (*audit.Fault)(nil); errors.As(err, &fault) {
		return fmt.Errorf("the audit log doesn't match its seals: %w", err)
	}
	if err != nil {
		return err
	}
	oldestUnsealed, err := audit.Waiting(r, portal.DB.Reader())
	if err != nil {
		return err
	}
	if !oldestUnsealed.IsZero() {
		fmt.Fprintln(r.streams.Out, "Newer events aren't sealed yet. A running server seals them within seconds.")
	}
	if report.Head.Seq == 0 {
		_, err = fmt.Fprintln(r.streams.Out, "No event is sealed yet.")
		return err
	}
	fmt.Fprintf(r.streams.Out, "The audit log is intact up to event %d. %s.\n", report.Head.Seq, countOf(int(report.Events), "event was verified", "events were verified"))
	if report.Pruned.Seq > 0 {
		fmt.Fprintf(r.streams.Out, "Events up to %d are older than audit.keep and were deleted; a signed checkpoint replaces them.\n", report.Pruned.Seq)
	}
	_, err = fmt.Fprintf(r.streams.Out, "Head: %s\n", report.Head)
	return err
}
