-- usable since: 2
-- Wizards that are open are few; to find them all authenticators were read.
CREATE INDEX authenticators_pending ON authenticators (session_id) WHERE confirmed_at IS NULL;
