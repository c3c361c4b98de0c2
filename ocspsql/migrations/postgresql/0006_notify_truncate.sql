CREATE TRIGGER ocsp_notify_truncate AFTER TRUNCATE ON ocsp_certificates
	FOR EACH STATEMENT EXECUTE FUNCTION ocsp_notify()
