-- NOT VALID spares the scan of a large table under its lock: the rows that are there hold NULL, which passes.
ALTER TABLE ocsp_certificates
	ADD COLUMN compromised_at BIGINT,
	ADD CONSTRAINT ocsp_compromised_at CHECK (compromised_at IS NULL OR revoked_at IS NOT NULL AND compromised_at BETWEEN -62135596799 AND 253402300799) NOT VALID
