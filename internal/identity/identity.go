// Package identity reads what a TLS client trusts and shows from PEM texts of
// strangers. Its errors repeat nothing of these.
package identity

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// The bounds. The keys are used in every handshake, which must not be made
// costly; crypto/tls checks what comes from the other side only.
const (
	MaxRoots   = 64 << 10 // bytes of PEM
	MaxChain   = 32 << 10
	MaxKey     = 16 << 10
	maxRSABits = 8192
)

// ErrKey says that the private key is at fault, rather than the certificate.
var ErrKey = errors.New("private key")

// Roots reads the certificates of authorities.
func Roots(text string) (*x509.CertPool, error) {
	certificates, err := parse(text, MaxRoots)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certificates {
		pool.AddCert(c)
	}
	return pool, nil
}

// Leaf reads a certificate chain, and returns the certificate that it begins with.
func Leaf(chain string) (*x509.Certificate, error) {
	certificates, err := parse(chain, MaxChain)
	if err != nil {
		return nil, err
	}
	return certificates[0], nil
}

// Pair reads a certificate chain and the private key of its first certificate,
// in PKCS #8, PKCS #1 or SEC 1. An error that is the key's is [ErrKey].
func Pair(chain, key string) (*tls.Certificate, error) {
	certificates, err := parse(chain, MaxChain)
	if err != nil {
		return nil, err
	}
	signer, err := parseKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	own, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !own.Equal(certificates[0].PublicKey) {
		return nil, fmt.Errorf("%w: it is not that of the first certificate", ErrKey)
	}
	pair := &tls.Certificate{PrivateKey: signer, Leaf: certificates[0]}
	for _, c := range certificates {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair, nil
}

func parse(text string, limit int) (certificates []*x509.Certificate, err error) {
	if len(text) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil, errors.New("there is a private key in it, which does not belong there")
		case block.Type != "CERTIFICATE":
			return nil, errors.New("there is something else than certificates in it")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d is malformed", len(certificates)+1)
		}
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
			return nil, fmt.Errorf("certificate %d has an RSA key of more than %d bits", len(certificates)+1, maxRSABits)
		}
		certificates = append(certificates, c)
	}
	// What is no block may stand for anything: a key that was pasted badly, say.
	if begins := strings.Count(text, "-----BEGIN "); len(certificates) == 0 || begins != len(certificates) || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("not PEM, with CERTIFICATE blocks")
	}
	return certificates, nil
}

func parseKey(text string) (crypto.Signer, error) {
	if len(text) > MaxKey {
		return nil, fmt.Errorf("more than %d bytes", MaxKey)
	}
	for rest := []byte(text); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil:
			return nil, errors.New("not PEM, with a PRIVATE KEY block")
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return nil, errors.New("it is encrypted; give it without a password")
		case block.Type == "EC PARAMETERS": // openssl writes them before the key
			continue
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			return nil, errors.New("not PEM, with a PRIVATE KEY block")
		}
		if err != nil {
			return nil, errors.New("malformed, or of an unknown kind")
		}
		if k, ok := key.(*rsa.PrivateKey); ok && k.N.BitLen() > maxRSABits {
			return nil, fmt.Errorf("RSA of more than %d bits", maxRSABits)
		}
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
		return nil, errors.New("of a kind that TLS cannot use")
	}
}
