-- WITHOUT ROWID keeps a row in the index itself, so that a lookup walks one tree.
CREATE TABLE ocsp_certificates (
	issuer     TEXT    NOT NULL CONSTRAINT ocsp_issuer CHECK (length(CAST(issuer AS BLOB)) BETWEEN 1 AND 255),
	serial     BLOB    NOT NULL CONSTRAINT ocsp_serial CHECK (length(serial) BETWEEN 1 AND 64),
	state      TEXT    NOT NULL CONSTRAINT ocsp_state CHECK (state IN ('PreActive', 'Active', 'Deactivated', 'Compromised', 'Destroyed', 'DestroyedCompromised')),
	reason     TEXT    NOT NULL DEFAULT '' CONSTRAINT ocsp_reason CHECK (reason IN ('', 'unspecified', 'keyCompromise', 'cACompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation', 'certificateHold', 'privilegeWithdrawn', 'aACompromise')),
	revoked_at INTEGER          CONSTRAINT ocsp_revoked_at_range CHECK (revoked_at BETWEEN -62135596799 AND 253402300799),
	not_after  INTEGER          CONSTRAINT ocsp_not_after_range CHECK (not_after BETWEEN -62135596799 AND 253402300799),
	PRIMARY KEY (issuer, serial),
	CONSTRAINT ocsp_serial_canonical CHECK (length(serial) = 1 OR NOT (
		substr(serial, 1, 1) = x'00' AND substr(serial, 2, 1) < x'80' OR
		substr(serial, 1, 1) = x'FF' AND substr(serial, 2, 1) >= x'80')),
	CONSTRAINT ocsp_revoked_at CHECK ((state IN ('PreActive', 'Active')) = (revoked_at IS NULL)),
	CONSTRAINT ocsp_good_has_no_reason CHECK (reason = '' OR revoked_at IS NOT NULL),
	CONSTRAINT ocsp_hold CHECK (reason <> 'certificateHold' OR state = 'Deactivated')
) STRICT, WITHOUT ROWID
