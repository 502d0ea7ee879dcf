-- usable since: 2
-- An owner confirms that the codes of a new set are saved; sets that are older than this
-- column count as confirmed, since their owners were never asked.
ALTER TABLE backup_codes ADD COLUMN unconfirmed BOOLEAN NOT NULL DEFAULT FALSE;
