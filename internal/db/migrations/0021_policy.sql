-- usable since: 2
-- When the owner last chose "Later" on the page that asks to enable two-factor authentication.
ALTER TABLE accounts ADD COLUMN two_factor_postponed_at BIGINT;
