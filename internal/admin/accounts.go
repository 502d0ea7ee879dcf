package admin

import (
	"context"
	"net/http"
	"net/url"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

// pageSize is the number of accounts on a page: a few screens. Every page costs the same,
// wherever it is in the list.
const pageSize = 50

// invited is the filter for accounts with an invitation that still works.
const invited = "invited"

// filters are the filters with their texts, in their order on the page.
var filters = []struct {
	name string
	text *locale.Message
}{
	{string(account.Every), locale.Say("admin.filter.all")},
	{string(account.WithOneFactor), locale.Say("admin.filter.one_factor")},
	{string(account.WhichAreDisabled), locale.Say("admin.filter.disabled")},
	{invited, locale.Say("admin.filter.invited")},
	{string(account.WithRole), locale.Say("admin.filter.role")},
}

const accountsPath = "/admin/accounts"

func (s *server) getAccounts(req *page.Request) error {
	query := req.URL.Query()
	data := accountsPage{Frame: req.Frame(locale.Say("admin.accounts"), tabAccounts), Query: query.Get("q"), Filter: query.Get("show")}
	data.Notice = s.noticeOf(req)
	after := query.Get("after")
	found, next, err := s.find(req.Context(), data.Filter, data.Query, after)
	if err != nil {
		return err
	}
	if data.Accounts, err = s.accountRows(req.Context(), found); err != nil {
		return err
	}
	for _, f := range filters {
		data.Filters = append(data.Filters, filterLink{f.text, listURL(f.name, data.Query, ""), f.name == data.Filter})
	}
	if next != "" {
		data.Next = listURL(data.Filter, data.Query, next)
	}
	if after != "" {
		data.First = listURL(data.Filter, data.Query, "")
	}
	return s.Render(req, http.StatusOK, "admin-accounts", &data)
}

// listURL returns the address of a page of the list. The list of invitations has no search.
func listURL(filter, q, after string) string {
	values := url.Values{}
	for name, value := range map[string]string{"show": filter, "q": q, "after": after} {
		if value != "" && (name != "q" || filter != invited) {
			values.Set(name, value)
		}
	}
	if len(values) == 0 {
		return accountsPath
	}
	return accountsPath + "?" + values.Encode()
}

// find returns the accounts of one page, and where the next page starts, which is "" if this is
// the last. An unknown filter finds nothing.
func (s *server) find(ctx context.Context, filter, q, after string) (found []account.Account, next string, err error) {
	db := s.Login.DB.Reader()
	if filter == invited {
		if after != "" && !secret.IsID(after) {
			return nil, "", page.ErrNotFound
		}
		ids, err := ticket.Invited(ctx, db, after, s.now(), pageSize+1)
		if err != nil {
			return nil, "", err
		}
		if len(ids) > pageSize {
			ids, next = ids[:pageSize], ids[pageSize-1]
		}
		found, err = account.Among(ctx, db, ids)
		return found, next, err
	}
	if !account.Filter(filter).IsKnown() {
		return nil, "", page.ErrNotFound
	}
	all, next, err := account.Find(ctx, db, account.Search{Filter: account.Filter(filter), Prefix: q, After: after}, pageSize)
	for _, f := range all {
		found = append(found, f.Account)
	}
	return found, next, err
}

// accountRows returns the rows of accounts. The number of its statements doesn't depend on the
// number of accounts.
func (s *server) accountRows(ctx context.Context, all []account.Account) ([]accountRow, error) {
	var ids []string
	for _, a := range all {
		ids = append(ids, a.ID)
	}
	groups, err := account.GroupsOfEach(ctx, s.Login.DB.Reader(), ids)
	if err != nil {
		return nil, err
	}
	owners, err := password.OwnersAmong(ctx, s.Login.DB.Reader(), ids)
	if err != nil {
		return nil, err
	}
	var rows []accountRow
	for _, a := range all {
		row := accountRow{
			ID: a.ID, Name: a.Name, Display: a.DisplayName, Email: a.Email, Groups: groups[a.ID],
			TwoFactor: !a.TwoFactorAt.IsZero(), Disabled: a.Disabled(), Invited: !owners[a.ID],
		}
		if a.Role != account.Member {
			row.Role = page.RoleMessage(a.Role)
		}
		rows = append(rows, row)
	}
	return rows, nil
}
