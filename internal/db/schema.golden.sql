CREATE TABLE accounts (
	id             TEXT PRIMARY KEY,
	name           TEXT NOT NULL UNIQUE,
	email          TEXT,
	email_folded   TEXT UNIQUE,
	display_name   TEXT NOT NULL,
	locale         TEXT NOT NULL,
	role           TEXT NOT NULL,
	security_stamp TEXT NOT NULL,
	enroll_locked  BOOLEAN NOT NULL,
	two_factor_at  BIGINT,
	created_at     BIGINT NOT NULL,
	disabled_at    BIGINT
, verified_email TEXT, email_verified_at BIGINT, refused_email TEXT, email_refused_at BIGINT, password_mailed_at BIGINT, factor_mailed_at BIGINT, two_factor_postponed_at BIGINT);

CREATE INDEX accounts_by_email ON accounts (email_folded);

CREATE INDEX accounts_by_name ON accounts (name);

CREATE INDEX accounts_disabled_by_email ON accounts (email_folded) WHERE disabled_at IS NOT NULL;

CREATE INDEX accounts_disabled_by_name ON accounts (name) WHERE disabled_at IS NOT NULL;

CREATE INDEX accounts_one_factor_by_email ON accounts (email_folded) WHERE two_factor_at IS NULL;

CREATE INDEX accounts_one_factor_by_name ON accounts (name) WHERE two_factor_at IS NULL;

CREATE INDEX accounts_with_role_by_email ON accounts (email_folded) WHERE role <> 'member';

CREATE INDEX accounts_with_role_by_name ON accounts (name) WHERE role <> 'member';

CREATE TABLE attempts (
	id             TEXT PRIMARY KEY,
	token_hash     BYTEA NOT NULL UNIQUE,
	account_id     TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	security_stamp TEXT NOT NULL,
	purpose        TEXT NOT NULL,
	session_id     TEXT,
	proofs         TEXT NOT NULL,
	return_url     TEXT NOT NULL,
	created_at     BIGINT NOT NULL,
	expires_at     BIGINT NOT NULL
, place TEXT NOT NULL DEFAULT '');

CREATE INDEX attempts_account ON attempts (account_id);

CREATE INDEX attempts_expiry ON attempts (expires_at);

CREATE TABLE audit_checkpoints (
	seq     BIGINT PRIMARY KEY,
	head    BYTEA NOT NULL,
	events  BIGINT NOT NULL,
	made_at BIGINT NOT NULL,
	mac     BYTEA NOT NULL
);

CREATE TABLE audit_head (
	seq BIGINT NOT NULL,
	mac BYTEA
);

CREATE TABLE authenticators (
	id           TEXT PRIMARY KEY,
	account_id   TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	session_id   TEXT,
	kind         TEXT NOT NULL,
	name         TEXT NOT NULL,
	created_at   BIGINT NOT NULL,
	confirmed_at BIGINT,
	last_used_at BIGINT
);

CREATE INDEX authenticators_account ON authenticators (account_id);

CREATE INDEX authenticators_pending ON authenticators (session_id) WHERE confirmed_at IS NULL;

CREATE TABLE backup_codes (
	id         TEXT PRIMARY KEY,
	account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	salt       BYTEA NOT NULL,
	memory_kib BIGINT NOT NULL,
	iterations BIGINT NOT NULL,
	hash       BYTEA NOT NULL,
	created_at BIGINT NOT NULL,
	used_at    BIGINT
, unconfirmed BOOLEAN NOT NULL DEFAULT FALSE);

CREATE INDEX backup_codes_account ON backup_codes (account_id);

CREATE TABLE clock (
	id            BIGINT PRIMARY KEY,
	high_water_at BIGINT,
	leapt_at      BIGINT,
	seen_at       BIGINT,
	version       BIGINT NOT NULL
);

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

CREATE TABLE events (
	id         TEXT PRIMARY KEY,
	at         BIGINT NOT NULL,
	account_id TEXT NOT NULL,
	actor      TEXT NOT NULL,
	kind       TEXT NOT NULL,
	outcome    TEXT NOT NULL,
	detail     TEXT NOT NULL,
	number     BIGINT NOT NULL,
	address    TEXT NOT NULL,
	browser    TEXT NOT NULL
, authenticator_id TEXT, seq BIGINT, mac BYTEA, actor_id TEXT, client_id TEXT, reason TEXT, sealed_form BIGINT
	CHECK (seq IS NULL OR actor_id IS NULL AND client_id IS NULL AND reason IS NULL OR sealed_form IS NOT NULL));

CREATE INDEX events_account ON events (account_id, at);

CREATE UNIQUE INDEX events_seq ON events (seq) WHERE seq IS NOT NULL;

CREATE INDEX events_unsealed ON events (at, id) WHERE seq IS NULL;

CREATE TABLE groups (
	name       TEXT PRIMARY KEY,
	created_at BIGINT NOT NULL
);

CREATE TABLE handoffs (
	token_hash BYTEA PRIMARY KEY,
	session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	panel      TEXT NOT NULL,
	state_hash BYTEA NOT NULL,
	return_url TEXT NOT NULL,
	expires_at BIGINT NOT NULL
);

CREATE INDEX handoffs_expiry ON handoffs (expires_at);

CREATE INDEX handoffs_session ON handoffs (session_id);

CREATE TABLE leases (
	name       TEXT PRIMARY KEY,
	holder     TEXT NOT NULL,
	expires_at BIGINT NOT NULL
);

CREATE TABLE ledger (
	account_id TEXT NOT NULL,
	bucket     TEXT NOT NULL,
	subject    TEXT NOT NULL,
	times      BYTEA NOT NULL,
	version    BIGINT NOT NULL,
	changed_at BIGINT NOT NULL,
	PRIMARY KEY (account_id, bucket, subject)
);

CREATE INDEX ledger_counted ON ledger (changed_at) WHERE LENGTH(times) > 0;

CREATE TABLE members (
	group_name TEXT NOT NULL REFERENCES groups (name) ON DELETE CASCADE,
	account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	PRIMARY KEY (group_name, account_id)
);

CREATE INDEX members_account ON members (account_id);

CREATE TABLE nodes (
	id         TEXT PRIMARY KEY,
	name       TEXT NOT NULL,
	ring_keys  TEXT NOT NULL,
	expires_at BIGINT NOT NULL
, knows TEXT NOT NULL DEFAULT '');

CREATE TABLE outbox (
	id            TEXT PRIMARY KEY,
	kind          TEXT NOT NULL,
	account_id        TEXT NOT NULL,
	address       TEXT NOT NULL,
	topic         TEXT NOT NULL,
	body          BYTEA NOT NULL,
	priority      BIGINT NOT NULL,
	brief         BOOLEAN NOT NULL,
	admitted      BOOLEAN NOT NULL,
	more          BIGINT NOT NULL,
	tries         BIGINT NOT NULL,
	unsure        BOOLEAN NOT NULL,
	due_at        BIGINT NOT NULL,
	claimed_until BIGINT,
	created_at    BIGINT NOT NULL,
	gives_up_at   BIGINT NOT NULL,
	last_error    TEXT NOT NULL
);

CREATE INDEX outbox_account ON outbox (account_id, kind, topic);

CREATE INDEX outbox_due ON outbox (kind, priority, due_at);

CREATE TABLE outbox_quotas (
	kind    TEXT NOT NULL,
	account_id  TEXT NOT NULL,
	topic   TEXT NOT NULL,
	slot    BIGINT NOT NULL,
	used_at BIGINT NOT NULL,
	PRIMARY KEY (kind, account_id, topic, slot)
);

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

CREATE TABLE passwords (
	account_id TEXT PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
	phc        BYTEA NOT NULL,
	changed_at BIGINT NOT NULL,
	suspect_at BIGINT
);

CREATE TABLE schema (version BIGINT NOT NULL, usable_since BIGINT NOT NULL);

CREATE TABLE sessions (
	id             TEXT PRIMARY KEY,
	token_hash     BYTEA NOT NULL UNIQUE,
	account_id     TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
	security_stamp TEXT NOT NULL,
	proofs         TEXT NOT NULL,
	created_at     BIGINT NOT NULL,
	seen_at        BIGINT NOT NULL,
	expires_at     BIGINT NOT NULL,
	address        TEXT NOT NULL,
	browser        TEXT NOT NULL
);

CREATE INDEX sessions_account ON sessions (account_id);

CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE tickets (
	token_hash BYTEA PRIMARY KEY,
	kind       TEXT NOT NULL,
	account_id TEXT REFERENCES accounts (id) ON DELETE CASCADE,
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	used_at    BIGINT
, data BYTEA, browser_hash BYTEA, tries BIGINT NOT NULL DEFAULT 0);

CREATE INDEX tickets_account ON tickets (account_id);

CREATE INDEX tickets_browser ON tickets (browser_hash) WHERE browser_hash IS NOT NULL;

CREATE INDEX tickets_by_kind ON tickets (kind, account_id);

CREATE TABLE totp (
	authenticator_id TEXT PRIMARY KEY REFERENCES authenticators (id) ON DELETE CASCADE,
	secret           BYTEA NOT NULL,
	algorithm        TEXT NOT NULL,
	digits           BIGINT NOT NULL,
	period           BIGINT NOT NULL,
	last_step        BIGINT NOT NULL,
	drift_steps      BIGINT NOT NULL
, step_ahead BIGINT NOT NULL DEFAULT 0, used_at BIGINT);

CREATE TABLE visits (
	id         TEXT PRIMARY KEY,
	token_hash BYTEA NOT NULL UNIQUE,
	session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	panel      TEXT NOT NULL,
	created_at BIGINT NOT NULL
, ended BOOLEAN NOT NULL DEFAULT FALSE);

CREATE INDEX visits_session ON visits (session_id, panel);
