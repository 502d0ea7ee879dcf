-- usable since: 2
-- When a code was last accepted, in the row that each accepted code changes anyway. Earlier
-- versions store it in authenticators.last_used_at, and go on doing so.
ALTER TABLE totp ADD COLUMN used_at BIGINT;
