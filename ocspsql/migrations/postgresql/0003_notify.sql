-- What the triggers of the next versions call, once for each statement. A message is the serial in hexadecimal, a
-- space and the issuer; or * in place of more than 1000. A row that is new needs none, as no answer is kept for it.
CREATE FUNCTION ocsp_notify() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	messages TEXT[];
BEGIN
	IF TG_OP = 'TRUNCATE' THEN
		messages := ARRAY['*'];
	ELSIF TG_OP = 'DELETE' THEN
		messages := ARRAY(SELECT encode(serial, 'hex') || ' ' || issuer FROM ocsp_before LIMIT 1001);
	ELSE
		messages := ARRAY(SELECT encode(serial, 'hex') || ' ' || issuer FROM (
			SELECT issuer, serial, state, reason, revoked_at, compromised_at, not_after FROM ocsp_before
			EXCEPT
			SELECT issuer, serial, state, reason, revoked_at, compromised_at, not_after FROM ocsp_after) AS changed LIMIT 1001);
	END IF;
	IF cardinality(messages) > 1000 THEN
		messages := ARRAY['*'];
	END IF;
	PERFORM pg_notify('ocsp_changes', message) FROM unnest(messages) AS message;
	RETURN NULL;
END $$
