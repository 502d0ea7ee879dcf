-- usable since: 2
-- The pages of administrators list accounts by name, and find them by the beginning of a name or an
-- address. Both are compared byte by byte, since a language's collation has no range of all texts
-- that begin alike.
CREATE INDEX accounts_by_name ON accounts (name COLLATE "C");
CREATE INDEX accounts_by_email ON accounts (email_folded COLLATE "C");

-- The same for those of the lists that leave most accounts out.
CREATE INDEX accounts_one_factor_by_name ON accounts (name COLLATE "C") WHERE two_factor_at IS NULL;
CREATE INDEX accounts_one_factor_by_email ON accounts (email_folded COLLATE "C") WHERE two_factor_at IS NULL;
CREATE INDEX accounts_disabled_by_name ON accounts (name COLLATE "C") WHERE disabled_at IS NOT NULL;
CREATE INDEX accounts_disabled_by_email ON accounts (email_folded COLLATE "C") WHERE disabled_at IS NOT NULL;
CREATE INDEX accounts_with_role_by_email ON accounts (email_folded COLLATE "C") WHERE role <> 'member';

CREATE INDEX tickets_by_kind ON tickets (kind, account_id);
