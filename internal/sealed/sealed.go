// Package sealed carries values through a history so that nobody but who asked for them can read them: by HPKE (RFC 9180) to a
// key that lives as long as the asking program.
//
// In: a value and a public key. Out: bytes that the private key opens.
//
// Not here: keeping keys; there is one for each question, in memory.
package sealed

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/json"
	"fmt"
)

// info binds what is sealed to its purpose.
var info = []byte("timeferry differing rows")

func kem() hpke.KEM { return hpke.DHKEM(ecdh.X25519()) }

// Key opens what was sealed to its public half. Safe for concurrent use.
type Key struct{ private hpke.PrivateKey }

// NewKey makes a fresh key.
func NewKey() (Key, error) {
	private, err := kem().GenerateKey()
	if err != nil {
		return Key{}, fmt.Errorf("make a key: %w", err)
	}
	return Key{private}, nil
}

// Public is the half to give away.
func (k Key) Public() []byte { return k.private.PublicKey().Bytes() }

// Open reads what Seal wrote into value.
func (k Key) Open(sealed []byte, value any) error {
	plain, err := hpke.Open(k.private, hpke.HKDFSHA256(), hpke.AES256GCM(), info, sealed)
	if err != nil {
		return fmt.Errorf("open sealed values: %w", err)
	}
	return json.Unmarshal(plain, value)
}

// Seal writes value as JSON that only the owner of the public key can read.
func Seal(public []byte, value any) ([]byte, error) {
	key, err := kem().NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("read the public key: %w", err)
	}
	plain, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), info, plain)
}
