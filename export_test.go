package ocsp

// ClearReady takes away all that is ready, so that answers come from the storage and are made ready again.
func ClearReady(r *Responder) { fillReady(r, nil) }

// CrowdReady takes all places for what is ready, so that answers come from the storage.
func CrowdReady(r *Responder) { fillReady(r, &ready{}) }

func fillReady(r *Responder, with *ready) {
	for i := range r.cache.stripes {
		for place := range r.cache.stripes[i].ready {
			r.cache.stripes[i].ready[place].Store(with)
		}
	}
}
