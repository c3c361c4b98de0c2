package main

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspredis"
)

// redisStore has the states in an ocspredis.Store, under an encrypted index, and what never changes about an
// object, encrypted, in a hash beside it.
type redisStore struct {
	client *redis.Client
	states *ocspredis.Store
	aead   cipher.AEAD
}

const redisObjects = ocspredis.DefaultPrefix + "kms:objects"

// redisObject is the part of an object that never changes.
type redisObject struct {
	Made        time.Time `json:"made"`
	Kind        string    `json:"kind"`
	Name        string    `json:"name"`
	IssuerUID   string    `json:"issuer_uid"`
	Serial      *big.Int  `json:"serial"`
	Certificate []byte    `json:"certificate"`
}

func openRedis(url string, secret []byte) (*redisStore, error) {
	client, err := newRedis(url)
	if err != nil {
		return nil, fmt.Errorf("[store] url: %w", err)
	}
	s := &redisStore{client: client}
	if s.states, err = ocspredis.NewStore(ocspredis.Options{Client: client, Keys: redisKeys(secret)}); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "kms objects", secretSize)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	block, err := aes.NewCipher(key)
	if err == nil {
		s.aead, err = cipher.NewGCMWithRandomNonce(block)
	}
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return s, nil
}

func (s *redisStore) close() error { return s.client.Close() }

// field is the name of an object in the hash, which says nothing.
func field(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:])
}

func (s *redisStore) insert(ctx context.Context, o object) error {
	text, err := json.Marshal(struct {
		UID string `json:"uid"`
		redisObject
	}{o.uid, redisObject{time.Now(), o.kind, o.name, o.issuerUID, o.serial, o.der}})
	if err != nil {
		return err
	}
	name := field(o.uid)
	added, err := s.client.HSetNX(ctx, redisObjects, name, s.aead.Seal(nil, nil, text, []byte(name))).Result()
	if err == nil && !added {
		err = errors.New("the uid is there already")
	}
	if err == nil {
		err = s.states.Issue(ctx, ocspredis.Certificate{IssuerID: o.issuerUID, Serial: o.serial, Record: o.record()})
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", o.uid, err)
	}
	return nil
}

func (s *redisStore) get(ctx context.Context, uid string) (object, error) {
	name := field(uid)
	sealed, err := s.client.HGet(ctx, redisObjects, name).Bytes()
	if errors.Is(err, redis.Nil) {
		return object{}, fmt.Errorf("%w: no object has the uid %q", errNotFound, uid)
	}
	if err != nil {
		return object{}, err
	}
	o, _, err := s.open(ctx, name, sealed)
	return o, err
}

// open decrypts an object and adds its state.
func (s *redisStore) open(ctx context.Context, name string, sealed []byte) (object, time.Time, error) {
	text, err := s.aead.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return object{}, time.Time{}, errors.New("an object in Redis was not written with this secret, or was changed")
	}
	var r struct {
		UID string `json:"uid"`
		redisObject
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return object{}, time.Time{}, err
	}
	o, err := s.bySerial(ctx, r.IssuerUID, r.Serial)
	o.uid, o.kind, o.name, o.der = r.UID, r.Kind, r.Name, r.Certificate
	return o, r.Made, err
}

func (s *redisStore) bySerial(ctx context.Context, issuerUID string, serial *big.Int) (object, error) {
	record, err := s.states.FindBySerial(ctx, issuerUID, serial)
	if errors.Is(err, ocsp.ErrNotFound) && !errors.Is(err, ocsp.ErrInvalidRecord) {
		return object{}, errNotFound
	}
	return object{issuerUID: issuerUID, serial: serial}.with(record), err
}

func (s *redisStore) list(ctx context.Context, kind string) ([]object, error) {
	all, err := s.client.HGetAll(ctx, redisObjects).Result()
	if err != nil {
		return nil, err
	}
	made := map[string]time.Time{}
	var list []object
	for name, sealed := range all {
		o, at, err := s.open(ctx, name, []byte(sealed))
		if errors.Is(err, errNotFound) {
			continue // its state is being written, or was never
		}
		if err != nil {
			return nil, err
		}
		if o.kind == kind {
			list, made[o.uid] = append(list, o), at
		}
	}
	slices.SortFunc(list, func(a, b object) int {
		return cmp.Or(made[a.uid].Compare(made[b.uid]), cmp.Compare(a.uid, b.uid))
	})
	return list, nil
}

func (s *redisStore) apply(ctx context.Context, uid string, c change) (object, error) {
	o, err := s.get(ctx, uid)
	if err != nil {
		return object{}, err
	}
	_, err = s.states.Update(ctx, o.issuerUID, o.serial, func(now ocsp.Record) (ocsp.Record, error) {
		next, err := o.with(now).after(c, time.Now())
		o = next
		return next.record(), err
	})
	return o, err
}
