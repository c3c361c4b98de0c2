CREATE TRIGGER ocsp_notify_update AFTER UPDATE ON ocsp_certificates
	REFERENCING OLD TABLE AS ocsp_before NEW TABLE AS ocsp_after FOR EACH STATEMENT EXECUTE FUNCTION ocsp_notify()
