-- usable since: 2
-- Which address of an account is known to reach its owner, and which one a mail server refused.
-- They hold for the address that they name, so that they don't for another one that an earlier
-- version stores.
ALTER TABLE accounts ADD COLUMN verified_email TEXT;
ALTER TABLE accounts ADD COLUMN email_verified_at BIGINT;
ALTER TABLE accounts ADD COLUMN refused_email TEXT;
ALTER TABLE accounts ADD COLUMN email_refused_at BIGINT;

-- When mail last replaced the password, and when the second factor.
ALTER TABLE accounts ADD COLUMN password_mailed_at BIGINT;
ALTER TABLE accounts ADD COLUMN factor_mailed_at BIGINT;

-- What a link is for beside its kind, and the browser that asked for it.
ALTER TABLE tickets ADD COLUMN data BYTEA;
ALTER TABLE tickets ADD COLUMN browser_hash BYTEA;
