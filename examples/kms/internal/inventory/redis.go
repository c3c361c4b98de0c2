package inventory

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

// redisStore holds the states in an ocspredis.Store. The part of an object that never changes is
// encrypted, in a hash of its own.
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

// SecretSize is the number of octets in the secret of a store in Redis.
const SecretSize = 32

// RedisKeys returns the keys for one secret.
func RedisKeys(secret []byte) ocspredis.Keys {
	const id = "kms" // there could be several, to replace one
	return ocspredis.Keys{Current: id, Secrets: map[string][]byte{id: secret}}
}

// RedisClient returns a client. Its error does not repeat the URL, which may hold a password.
func RedisClient(url string) (*redis.Client, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New(`use a URL such as "redis://:PASSWORD@HOST:6379/0"`)
	}
	return redis.NewClient(o), nil
}

func openRedis(url string, secret []byte) (*redisStore, error) {
	client, err := RedisClient(url)
	if err != nil {
		return nil, fmt.Errorf("[store] url: %w", err)
	}
	s := &redisStore{client: client}
	if s.states, err = ocspredis.NewStore(ocspredis.Options{Client: client, Keys: RedisKeys(secret)}); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "kms objects", SecretSize)
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

func (s *redisStore) Close() error { return s.client.Close() }

// field returns the name of an object in the hash. It does not reveal the UID.
func field(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:])
}

func (s *redisStore) Insert(ctx context.Context, o Object) error {
	text, err := json.Marshal(struct {
		UID string `json:"uid"`
		redisObject
	}{o.UID, redisObject{time.Now(), o.Kind, o.Name, o.IssuerUID, o.Serial, o.DER}})
	if err != nil {
		return err
	}
	name := field(o.UID)
	added, err := s.client.HSetNX(ctx, redisObjects, name, s.aead.Seal(nil, nil, text, []byte(name))).Result()
	if err == nil && !added {
		err = errors.New("the uid is taken")
	}
	if err == nil {
		err = s.states.Issue(ctx, ocspredis.Certificate{IssuerID: o.IssuerUID, Serial: o.Serial, Record: o.Record})
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", o.UID, err)
	}
	return nil
}

func (s *redisStore) Get(ctx context.Context, uid string) (Object, error) {
	name := field(uid)
	sealed, err := s.client.HGet(ctx, redisObjects, name).Bytes()
	if errors.Is(err, redis.Nil) {
		return Object{}, fmt.Errorf("%w: no object has the uid %q", ErrNotFound, uid)
	}
	if err != nil {
		return Object{}, err
	}
	o, _, err := s.open(ctx, name, sealed)
	return o, err
}

// open decrypts an object and reads its state. It also returns when the object was made.
func (s *redisStore) open(ctx context.Context, name string, sealed []byte) (Object, time.Time, error) {
	text, err := s.aead.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return Object{}, time.Time{}, errors.New("an object in Redis was not written with this secret, or was changed")
	}
	var r struct {
		UID string `json:"uid"`
		redisObject
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return Object{}, time.Time{}, err
	}
	record, err := s.BySerial(ctx, r.IssuerUID, r.Serial)
	return Object{r.UID, r.Kind, r.Name, r.IssuerUID, r.Serial, record, r.Certificate}, r.Made, err
}

func (s *redisStore) BySerial(ctx context.Context, issuerUID string, serial *big.Int) (ocsp.Record, error) {
	record, err := s.states.FindBySerial(ctx, issuerUID, serial)
	if errors.Is(err, ocsp.ErrNotFound) && !errors.Is(err, ocsp.ErrInvalidRecord) {
		return ocsp.Record{}, ErrNotFound
	}
	return record, err
}

func (s *redisStore) List(ctx context.Context, kind string) ([]Object, error) {
	all, err := s.client.HGetAll(ctx, redisObjects).Result()
	if err != nil {
		return nil, err
	}
	made := map[string]time.Time{}
	var list []Object
	for name, sealed := range all {
		o, at, err := s.open(ctx, name, []byte(sealed))
		if errors.Is(err, ErrNotFound) {
			continue // its state is not written yet, or never was
		}
		if err != nil {
			return nil, err
		}
		if o.Kind == kind {
			list, made[o.UID] = append(list, o), at
		}
	}
	slices.SortFunc(list, func(a, b Object) int {
		return cmp.Or(made[a.UID].Compare(made[b.UID]), cmp.Compare(a.UID, b.UID))
	})
	return list, nil
}

func (s *redisStore) Apply(ctx context.Context, uid string, c Change) (Object, error) {
	o, err := s.Get(ctx, uid)
	if err != nil {
		return Object{}, err
	}
	if c.Action == Release {
		return s.release(ctx, o, c)
	}
	next := o
	_, err = s.states.Update(ctx, o.IssuerUID, o.Serial, func(now ocsp.Record) (ocsp.Record, error) {
		o.Record = now
		var err error
		next, err = o.after(c)
		return next.Record, err
	})
	if err != nil {
		return o, err
	}
	return next, nil
}

// release ends a hold, which Update of the states does not.
func (s *redisStore) release(ctx context.Context, o Object, c Change) (Object, error) {
	next, err := o.after(c)
	if err != nil {
		return o, err
	}
	changed, err := s.states.Release(ctx, o.IssuerUID, o.Serial)
	if err == nil && !changed || errors.Is(err, ocspredis.ErrState) {
		err = fmt.Errorf("%w: another change was faster", ErrConflict)
	}
	if err != nil {
		return o, err
	}
	return next, nil
}
