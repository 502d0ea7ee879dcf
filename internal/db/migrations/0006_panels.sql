-- usable since: 2
CREATE TABLE visits (
	id         TEXT PRIMARY KEY,
	token_hash BYTEA NOT NULL UNIQUE,
	session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	panel      TEXT NOT NULL,
	created_at BIGINT NOT NULL
);

CREATE INDEX visits_session ON visits (session_id, panel);

CREATE TABLE handoffs (
	token_hash BYTEA PRIMARY KEY,
	session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	panel      TEXT NOT NULL,
	state_hash BYTEA NOT NULL,
	return_url TEXT NOT NULL,
	expires_at BIGINT NOT NULL
);

CREATE INDEX handoffs_session ON handoffs (session_id);

CREATE INDEX handoffs_expiry ON handoffs (expires_at);
