CREATE TABLE devices (
	id         TEXT PRIMARY KEY,
	token_hash BYTEA NOT NULL,
	account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	created_at BIGINT NOT NULL,
	used_at    BIGINT NOT NULL,
	address    TEXT NOT NULL,
	browser    TEXT NOT NULL,
	UNIQUE (token_hash, account_id)
);
CREATE INDEX devices_account ON devices (account_id);
CREATE INDEX devices_used ON devices (used_at);
