package ocspredis

// Seal encrypts what may be no record.
func Seal(k Keys, place string, text []byte) (string, error) {
	r, err := k.ring()
	return string(r.seal(text, place)), err
}
