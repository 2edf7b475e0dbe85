package seal

import (
	"context"
	"crypto/cipher"
	"fmt"
	"io"
)

// Ring is [Keys] that the process itself holds. NewRing creates it.
type Ring struct {
	current string
	keys    map[string]cipher.AEAD
}

// NewRing returns a ring whose current key is current.
func NewRing(current string, keys map[string][]byte) (*Ring, error) {
	r := &Ring{current: current, keys: make(map[string]cipher.AEAD, len(keys))}
	for id, key := range keys {
		if len(key) != keySize {
			return nil, fmt.Errorf("key %q has %d bytes, want %d", id, len(key), keySize)
		}
		aead, err := newAEAD(key)
		if err != nil {
			return nil, err
		}
		r.keys[id] = aead
	}
	return r, nil
}

// Current implements [Keys].
func (r *Ring) Current() string { return r.current }

// Wrap implements [Keys].
func (r *Ring) Wrap(_ context.Context, keyID string, dataKey []byte) ([]byte, error) {
	aead := r.keys[keyID]
	if aead == nil {
		return nil, ErrNoKey
	}
	return aead.Seal(nil, nil, dataKey, []byte(keyID)), nil
}

// Unwrap implements [Keys].
func (r *Ring) Unwrap(_ context.Context, keyID string, wrapped []byte) ([]byte, error) {
	aead := r.keys[keyID]
	if aead == nil {
		return nil, ErrNoKey
	}
	dataKey, err := aead.Open(nil, nil, wrapped, []byte(keyID))
	if err != nil {
		return nil, ErrMismatch
	}
	return dataKey, nil
}

// Format implements [fmt.Formatter]: the expanded keys are in reach of a Ring.
func (*Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// MarshalText returns "[redacted]".
func (*Ring) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }
