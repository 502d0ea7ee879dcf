-- usable since: 2
CREATE TABLE passes (
	id             TEXT PRIMARY KEY,
	token_hash     BYTEA NOT NULL UNIQUE,
	account_id     TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	security_stamp TEXT NOT NULL,
	name           TEXT NOT NULL,
	panel          TEXT NOT NULL,
	path           TEXT NOT NULL,
	methods        TEXT NOT NULL,
	addresses      TEXT NOT NULL,
	proofs         TEXT NOT NULL,
	by_operator    BOOLEAN NOT NULL,
	created_at     BIGINT NOT NULL,
	seen_at        BIGINT,
	expires_at     BIGINT NOT NULL,
	UNIQUE (account_id, name)
);

CREATE INDEX passes_expiry ON passes (expires_at);
