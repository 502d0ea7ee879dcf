-- usable since: 2
-- A visit that has ended admits nobody, but still leads a sign-out to its session.
ALTER TABLE visits ADD COLUMN ended BOOLEAN NOT NULL DEFAULT FALSE;
