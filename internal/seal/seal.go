// Package seal encrypts values under master keys that somebody else may keep.
//
// Each value is encrypted with a data key of its own, AES-256-GCM, and the data
// key is wrapped under a master key that has an ID (envelope encryption): a key
// management service never sees the values, and its master key never leaves it.
// What a value belongs to is bound to it as associated data, and so is all that
// stands before the ciphertext.
//
// A sealed value is, with all numbers big-endian,
//
//	"\x00seal" and one byte, the version: 1
//	one byte, the length of the master key's ID, and the ID
//	two bytes, the length of the wrapped data key, and that
//	a nonce of 12 bytes, the ciphertext, a tag of 16 bytes
//
// The zero byte tells it from JSON and any other text.
package seal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

const (
	magic   = "\x00seal"
	version = 1
	keySize = 32
	maxID   = 255
	// maxWrapped is more than any service makes of 32 bytes: RSA-4096 makes 512.
	maxWrapped = 4096
	// MaxPlain bounds what is sealed.
	MaxPlain = 1 << 20
)

var (
	// ErrFormat says that a value was not made by Seal, or by a later version.
	ErrFormat = errors.New("not a sealed value of this version")
	// ErrMismatch says that a value or a data key does not open: it was sealed
	// under another key or for somebody else, or has been changed since.
	ErrMismatch = errors.New("it was sealed with another key or for another record, or has been changed")
	// ErrNoKey says that a [Ring] has no key of that ID.
	ErrNoKey = errors.New("there is no such key")
)

// Keys wraps data keys under master keys. Neither method may keep or change
// what it is given.
type Keys interface {
	Current() string // the ID of the master key for new values
	Wrap(ctx context.Context, keyID string, dataKey []byte) (wrapped []byte, err error)
	Unwrap(ctx context.Context, keyID string, wrapped []byte) (dataKey []byte, err error)
}

// Is reports whether b is meant to be a sealed value.
func Is(b []byte) bool { return bytes.HasPrefix(b, []byte(magic)) }

// KeyID returns the ID of the master key that a value was sealed under.
func KeyID(sealed []byte) (string, error) {
	p, err := parse(sealed)
	return p.keyID, err
}

// Current returns the ID of the current master key. A panic of k is an error.
func Current(k Keys) (keyID string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the keys panicked: %T", r)
		}
	}()
	if keyID = k.Current(); keyID == "" || len(keyID) > maxID {
		return keyID, fmt.Errorf("the ID of the current key has %d bytes, want 1 to %d", len(keyID), maxID)
	}
	return keyID, nil
}

// Seal encrypts plain under the current master key. owner says what the value
// belongs to: it opens for the same strings only.
func Seal(ctx context.Context, k Keys, plain []byte, owner ...string) ([]byte, error) {
	if len(plain) > MaxPlain {
		return nil, fmt.Errorf("%d bytes are too many to be sealed, at most %d", len(plain), MaxPlain)
	}
	dataKey := make([]byte, keySize)
	rand.Read(dataKey) // never fails
	keyID, wrapped, err := wrap(ctx, k, bytes.Clone(dataKey))
	switch {
	case err != nil:
		return nil, err
	case len(wrapped) == 0 || len(wrapped) > maxWrapped:
		return nil, fmt.Errorf("wrapped under %q, the data key has %d bytes, want 1 to %d", keyID, len(wrapped), maxWrapped)
	case bytes.Contains(wrapped, dataKey):
		return nil, fmt.Errorf("wrapped under %q, the data key is there in clear", keyID)
	}
	head := append([]byte(magic), version, byte(len(keyID)))
	head = append(head, keyID...)
	head = binary.BigEndian.AppendUint16(head, uint16(len(wrapped)))
	head = append(head, wrapped...)
	aead, err := newAEAD(dataKey)
	if err != nil {
		return nil, err
	}
	return append(head, aead.Seal(nil, nil, plain, associated(head, owner))...), nil
}

// Open decrypts a value that Seal made for the same owner. Its errors are those
// of k, [ErrFormat] and [ErrMismatch].
func Open(ctx context.Context, k Keys, sealed []byte, owner ...string) ([]byte, error) {
	p, err := parse(sealed)
	if err != nil {
		return nil, err
	}
	dataKey, err := unwrap(ctx, k, p.keyID, bytes.Clone(p.wrapped))
	if err != nil {
		return nil, fmt.Errorf("unwrap under %q: %w", p.keyID, err)
	}
	if len(dataKey) != keySize {
		return nil, fmt.Errorf("unwrapped under %q, the data key has %d bytes, want %d", p.keyID, len(dataKey), keySize)
	}
	aead, err := newAEAD(dataKey)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, p.box, associated(p.head, owner))
	if err != nil {
		return nil, ErrMismatch
	}
	return plain, nil
}

// wrap asks k, whose panic is an error: its value may be a key.
func wrap(ctx context.Context, k Keys, dataKey []byte) (keyID string, wrapped []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the keys panicked: %T", r)
		}
	}()
	if keyID, err = Current(k); err != nil {
		return keyID, nil, err
	}
	if wrapped, err = k.Wrap(ctx, keyID, dataKey); err != nil {
		return keyID, nil, fmt.Errorf("wrap under %q: %w", keyID, err)
	}
	return keyID, wrapped, nil
}

func unwrap(ctx context.Context, k Keys, keyID string, wrapped []byte) (dataKey []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the keys panicked: %T", r)
		}
	}()
	return k.Unwrap(ctx, keyID, wrapped)
}

// parts are those of a sealed value: slices of it.
type parts struct {
	head    []byte // all but box
	keyID   string
	wrapped []byte
	box     []byte // nonce, ciphertext and tag
}

func parse(b []byte) (parts, error) {
	rest, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok || len(rest) < 2 || rest[0] != version {
		return parts{}, ErrFormat
	}
	keyID, rest, ok := cut(rest[2:], int(rest[1]))
	if !ok || len(keyID) == 0 || len(rest) < 2 {
		return parts{}, ErrFormat
	}
	wrapped, box, ok := cut(rest[2:], int(binary.BigEndian.Uint16(rest)))
	if !ok || len(wrapped) == 0 || len(wrapped) > maxWrapped || len(box) > MaxPlain+overhead {
		return parts{}, ErrFormat
	}
	return parts{head: slices.Clip(b[:len(b)-len(box)]), keyID: string(keyID), wrapped: wrapped, box: box}, nil
}

const overhead = 12 + 16 // nonce and tag

func cut(b []byte, n int) (before, after []byte, ok bool) {
	if n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// associated joins what is authenticated beside the ciphertext, so that no two
// lists are alike.
func associated(head []byte, owner []string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(head)))
	b = append(b, head...)
	for _, s := range owner {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
